"""What a stage is surrounded by, kept in memory, and a fine-tuned MiniLM to work on."""

from __future__ import annotations

from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile, weights_folder
from pipeline.run import Result


class Recorder:
    """A stage's events, kept in memory."""

    def __init__(self):
        self.steps, self.logs, self.artifacts = [], [], []

    def progress(self, done, total, what):
        self.steps.append((done, total, what))

    def metric(self, **values):
        raise AssertionError("only training writes metric events")

    def log(self, message, *, level="info"):
        self.logs.append((level, message))

    def artifact(self, path, what):
        self.artifacts.append(path)

    def resumed(self, **where):
        raise AssertionError("nothing goes on here")


class Control:
    """Nobody asks anything, until an exception is given: it comes at the poll after `polls`."""

    finish_asked = False

    def __init__(self, error=None, polls=0):
        self.error, self.polls = error, polls

    def poll(self):
        self.polls -= 1
        if self.error and self.polls < 0:
            raise self.error


def finished(folder, stage, digest="d"):
    """A result as an input of a later stage."""
    return Result(folder, stage, f"f-{stage}", digest, {}, "made", False, 0.0, 0.0)


def save_finetuned(folder):
    """MiniLM with slightly other weights, saved as finetune saves it."""
    import torch

    from pipeline.encoder import load_encoder

    # Texts this short gain nothing from threads, and threads wait for each other on a busy machine.
    torch.set_num_threads(1)
    profile = find_profile(REHEARSAL_PROFILE)
    encoder = load_encoder(weights_folder(profile), profile, base_recipe(profile).encoder, "cpu")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in encoder.model.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=generator)
    encoder.save(folder / "model", "# A test's model")
    return folder
