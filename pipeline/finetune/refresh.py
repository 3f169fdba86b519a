"""Negatives mined anew between epochs, with the weights as they are by then.

What was hard for the base may be easy for the model half-way, and no longer teach anything: ANCE
(Xiong et al., "Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text
Retrieval", 2021), here at the epochs' borders and by the same rule as `prep`. What was found is
written beside the checkpoint before a step uses it, so that a resumed training sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.files import read_json, write_json
from pipeline.finetune.batches import Sampler
from pipeline.finetune.checkpoint import Checkpoints
from pipeline.finetune.examples import TrainingSet, with_negatives
from pipeline.finetune.validation import Embed
from pipeline.mining.training import Asked, Library, refresh
from pipeline.prep.records import TrainingExample
from pipeline.settings import PrepSettings

Negatives = list[list[str]]
"""Passage ids by example, hardest first."""


@dataclass
class Refresher:
    """Gives the sampler other negatives at the beginning of every epoch but the first.

    Attributes:
        examples: the training examples.
        library: the corpus's passages; those of the pool may become negatives.
        data: the training set of both.
        sampler: whose negatives are replaced.
        steps_per_epoch: of the schedule.
        used: negatives used an example.
        settings: how they are mined.
        checkpoints: beside which they are written.
        device: where to search, `cpu` or `cuda`.
        embed: texts to vectors of the weights as they are.
        report: called with (done, total, what); it may raise to stop.
        say: told what was found, in one line.
        look_at: given the epoch's steps as soon as the sampler has its negatives.
        epoch: whose negatives the sampler has.
    """

    examples: Sequence[TrainingExample]
    library: Library
    data: TrainingSet
    sampler: Sampler
    steps_per_epoch: int
    used: int
    settings: PrepSettings
    checkpoints: Checkpoints
    device: str
    embed: Embed
    report: Callable[[int, int, str], None]
    say: Callable[[str], None]
    look_at: Callable[[range], None]
    epoch: int = field(default=0, init=False)

    def before_step(self, step: int) -> None:
        """See that a step, from 0, gets its epoch's negatives.

        Raises:
            OSError: the disk is full.
        """
        epoch = step // self.steps_per_epoch
        if epoch == self.epoch:
            return
        name = f"negatives-{epoch}.json"
        path = self.checkpoints.folder / name
        if self.checkpoints.is_attached(name):
            negatives: Negatives = read_json(path)
        else:
            negatives = self._mined()
            write_json(path, negatives)
            self.checkpoints.attach(name)
        self.sampler.use(with_negatives(self.data, self.library.texts, negatives, self.used))
        first = epoch * self.steps_per_epoch
        self.look_at(range(first, first + self.steps_per_epoch))
        self.epoch = epoch

    def _mined(self) -> Negatives:
        def report(done: int, total: int) -> None:
            self.report(done, total, "queries mined anew")

        asked = [Asked(one.query, one.question, one.positives) for one in self.examples]
        found = refresh(asked, self.library, self.embed, self.settings, self.device, report)
        fresh = [[key for key, _ in one.negatives] for one in found]
        none = sum(not mined for mined in fresh)
        fewer = sum(0 < len(mined) < self.used for mined in fresh)
        self.say(
            f"Negatives were mined anew for {len(fresh):,} questions: {fewer:,} have fewer than "
            f"{self.used}; {none:,} have none that the rule allows and keep those of the base."
        )
        before = ([key for key, _ in example.negatives] for example in self.examples)
        return [mined or old for mined, old in zip(fresh, before, strict=True)]
