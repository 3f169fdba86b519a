"""The Export step: what is chosen and what it costs, the proof, and the states on the way."""

import json
from dataclasses import asdict, replace

import pytest
from piloted import drive, screen_text, settled, snapshot_of, until
from text_snapshot import assert_snapshot

from pipeline.errors import GateRefusal
from pipeline.export.records import Gate, Manifest, Measured, Parity, write_manifest
from pipeline.files import write_json
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run
from pipeline.settings import ExportSettings
from tui.export_rows import (
    Place,
    export_choices,
    file_rows,
    precision_rows,
    standing_rows,
    verdict_rows,
)
from tui.glyphs import UNICODE
from tui.rows import plain, width_of
from tui.screens.export import read_place
from tui.steps import StageState

GATE = Gate(1e-4, 0.99999, 1e-4)
CASES = (
    Measured("1x3", 1, 3, 1.4e-07, 1.0000001, 0.0),
    Measured("queries", 16, 22, 2.4e-07, 0.9999999, 0.0),
)
GOOD = Parity("fp32", 17, CASES, 0, True, ())
BAD = replace(GOOD, dtype="fp16", misplaced=3, faults=("cosine 0.5 < 0.9999 for queries",))
SIZES = {"fp32": 90_852_864, "fp16": 45_426_432}
DONE = dict.fromkeys(("corpus", "sdg", "prep", "finetune", "eval"), "done")


def text_of(rows):
    return "\n".join(plain(cells).rstrip() for cells in rows)


def manifest_of(files):
    return Manifest(
        model="d",
        profile="a model",
        rehearsal=True,
        dtypes=("fp32",),
        opset=17,
        pooling="mean",
        normalize=True,
        dimension=384,
        matryoshka=(384,),
        query_prefix="",
        passage_prefix="",
        query_tokens=256,
        passage_tokens=256,
        padding_side="right",
        padding_token=0,
        files=files,
        tensorrt={},
        versions={},
    )


def test_a_graph_that_is_the_model_says_so_with_its_worst_figures():
    text = " ".join(text_of(verdict_rows([(GOOD, GATE)], UNICODE, 80)).split())
    assert "✓ model.onnx is the fine-tuned model" in text
    assert "cosine 0.9999999 or more (at least 0.99999)" in text
    assert "largest difference 2.4e-07 (at most 0.0001)" in text
    assert "rankings equal" in text


def test_a_graph_that_is_another_model_says_what_is_wrong():
    rows = verdict_rows([(BAD, Gate(None, 0.9999, 5e-3))], UNICODE, 80)
    assert rows[0][0].tone == "bad"
    text = " ".join(text_of(rows).split())
    assert "✗ model.fp16.onnx is not the fine-tuned model" in text
    assert "cosine 0.5 < 0.9999 for queries" in text
    assert "3 passages misplaced" in text


def test_every_choice_has_its_size_and_the_one_that_is_served():
    both = ExportSettings(dtypes=("fp16", "fp32"))
    precision, plan = export_choices(both, Place(SIZES, "no GPU"))
    assert precision.hint == "~136 MB; both files; fp16 is served"
    assert (plan.value, plan.hint) == ("off", "not possible here: no GPU")
    assert export_choices(both, Place())[0].hint == "both files; fp16 is served"
    sizes = [plain(cells).split("~")[1].split()[0] for cells in precision_rows(Place(SIZES))]
    assert sizes == ["91", "45", "136", "136"]


def test_tensorrt_that_is_asked_for_and_not_possible_stands_out():
    wanted = ExportSettings(tensorrt=True)
    assert export_choices(wanted, Place(no_tensorrt="no GPU"))[1].tone == "bad"
    possible = export_choices(wanted, Place())[1]
    assert (possible.value, possible.tone) == ("on", "strong")


def test_a_file_that_is_gone_is_shown_as_missing():
    manifest = manifest_of({"model.onnx": "a", "tokenizer/tokenizer.json": "b"})
    text = text_of(file_rows(manifest, {"model.onnx": 91_000_000}, "/runs/one/export/f", 60))
    assert "91 MB  served" in text
    assert "tokenizer/tokenizer.json  missing" in text
    assert "/runs/one/export/f" in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("done", "enter goes on"),
        ("stale", "stale: export.opset changed. enter exports again"),
        ("failed", "enter tries again"),
        ("vanished", "gone without a word"),
        ("stopped", "was stopped"),
        ("new", "enter writes it"),
    ],
)
@pytest.mark.parametrize("width", [60, 96])
def test_every_state_says_which_key_goes_on(state, words, width):
    rows = standing_rows(StageState(state, "export.opset changed"), False, UNICODE, width)
    assert words in " ".join(text_of(rows).split())
    assert all(width_of(cells) <= width for cells in rows)


def test_a_rehearsal_and_a_machine_without_gpu_offer_no_plan(tmp_path, monkeypatch):
    assert read_place(None, True).no_tensorrt == "a rehearsal uses no GPU"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "not installed" in read_place(None, False).no_tensorrt

    def no_driver():
        raise GateRefusal("No driver.", safe="All.", next_step="Install it.")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("pipeline.gpus.open_nvml", no_driver)
    place = read_place(tmp_path / "gone", False)
    assert (place.no_tensorrt, place.sizes) == ("No driver", {})


# The screen


def write_export(folder, graphs=((GOOD, GATE),), *, done=True):
    """An export's folder as far as the screen reads it."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"0" * 2000)
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    rows = [{**asdict(parity), "gate": asdict(gate)} for parity, gate in graphs]
    write_json(folder / "parity.json", {"graphs": rows})
    if done:
        write_manifest(folder, manifest_of({"model.onnx": "a", "tokenizer/tokenizer.json": "b"}))
        write_json(folder / "done.json", {})
    return folder


@pytest.fixture
def at_export(make_wizard, rehearsal_run):
    """Runs a script on the Export step of a run whose stages stand as it is told."""

    def go(script, results=None, size=(80, 24), ascii_only=False, folders=None, run=None, **states):
        wizard = make_wizard(size=size, ascii_only=ascii_only)

        async def with_snapshot(pilot):
            snapshot = snapshot_of(run or rehearsal_run, results, **{**DONE, **states})
            wizard.snapshot = replace(snapshot, folders={**snapshot.folders, **(folders or {})})
            wizard.open_step("export")
            shown = ("precision", "What happened")
            await until(pilot, lambda: any(word in screen_text(wizard) for word in shown))
            await script(pilot, wizard)

        drive(wizard, with_snapshot, size)

    return go


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_finished_export_as_it_is_seen(at_export, tmp_path_factory, size, ascii_only):
    # One line long at any size.
    folder = write_export(tmp_path_factory.mktemp("e") / "export")

    async def script(pilot, wizard):
        await until(pilot, lambda: "a rehearsal uses no GPU" in screen_text(wizard))
        await until(pilot, lambda: "is the fine-tuned model" in screen_text(wizard))
        text = await settled(pilot)
        name = f"export-{size[0]}x{size[1]}{'-ascii' if ascii_only else ''}"
        kept = [line for line in text.splitlines() if "in /" not in line]
        assert_snapshot(name, "\n".join(kept))

    at_export(script, {"export": folder}, size, ascii_only, export="done")


def test_the_report_is_copied_whole(at_export, tmp_path):
    folder = write_export(tmp_path / "export")
    copied = []

    async def script(pilot, wizard):
        wizard.copy = copied.append
        assert wizard.screen.primary() == "Go on"
        wizard.screen.action_copy()
        await pilot.press("enter")
        await until(pilot, lambda: wizard.screen.STEP == "deploy")

    at_export(script, {"export": folder}, export="done")
    assert "model.onnx is the fine-tuned model" in copied[0]
    assert "not for use" in copied[0]
    assert "queries" in copied[0]
    assert str(folder) in copied[0].replace("\n ", "")


def test_another_precision_is_chosen_in_a_dialog_and_written(at_export, rehearsal_run):
    async def script(pilot, wizard):
        assert wizard.screen.primary() == "Export"
        assert not wizard.screen.check_action("copy", ())
        await pilot.press("e")
        await until(pilot, lambda: "fp32 and fp16" in screen_text(wizard))
        await pilot.press("j", "j", "enter")
        await until(pilot, lambda: rehearsal_run.recipe().export.dtypes == ("fp32", "fp16"))

    at_export(script, export="new")


def test_a_plan_is_not_offered_where_none_can_be_built(at_export, rehearsal_run):
    async def script(pilot, wizard):
        await until(pilot, lambda: "a rehearsal uses no GPU" in screen_text(wizard))
        await pilot.press("j", "e")
        await until(pilot, lambda: "No TensorRT plan here" in screen_text(wizard))
        assert not rehearsal_run.recipe().export.tensorrt

    at_export(script, export="new")


def test_a_recipe_that_asks_for_a_plan_can_give_it_up_but_not_start(at_export, tmp_path):
    profile = find_profile(REHEARSAL_PROFILE)
    run = create_run(tmp_path / "plan", profile, {"export.tensorrt": True}, "a test")

    async def script(pilot, wizard):
        await until(pilot, lambda: "e turns it off" in screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, lambda: "No TensorRT plan here" in screen_text(wizard))
        assert not wizard.starting("export")
        await pilot.press("j", "e")
        await until(pilot, lambda: not run.recipe().export.tensorrt)

    at_export(script, run=run, export="new")


def test_without_a_model_enter_leads_to_the_step_that_comes_first(at_export):
    async def script(pilot, wizard):
        await until(pilot, lambda: "Generate comes first" in screen_text(wizard))
        assert wizard.screen.primary() == "To Generate"

    at_export(script, sdg="stale", prep="waiting", finetune="waiting", export="waiting")


def test_a_graph_that_failed_shows_its_report_without_files(at_export, tmp_path):
    graphs = ((GOOD, GATE), (BAD, Gate(None, 0.9999, 5e-3)))
    folder = write_export(tmp_path / "attempt", graphs, done=False)

    async def script(pilot, wizard):
        await until(pilot, lambda: "is not the fine-tuned model" in screen_text(wizard))
        text = screen_text(wizard)
        assert "It failed: as the test says" in text
        assert "served" not in text
        assert wizard.screen.primary() == "Export"

    at_export(script, folders={"export": folder}, export="failed")


def test_a_damaged_report_is_told_and_nothing_else_breaks(at_export, tmp_path):
    folder = write_export(tmp_path / "export")
    (folder / "parity.json").write_text(json.dumps({"graphs": [{"dtype": "fp32"}]}))

    async def script(pilot, wizard):
        await until(pilot, lambda: "What happened" in screen_text(wizard))
        await pilot.press("escape")
        await until(pilot, lambda: "What happened" not in screen_text(wizard))
        assert "precision" in screen_text(wizard)

    at_export(script, {"export": folder}, export="done")
