"""The Export step in rows: what is chosen, what it costs, and the proof of what was made. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.export.records import Gate, Manifest, Parity, graph_name
from pipeline.settings import ExportSettings
from pipeline.tail import size_words
from tui.choices import Choice
from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, pad, pad_left, row, table, wrap
from tui.steps import StageState

PRECISIONS: tuple[tuple[str, ...], ...] = (
    ("fp32",),
    ("fp16",),
    ("fp32", "fp16"),
    ("fp16", "fp32"),
)
"""What can be written; the first one of each is served."""

_COSTS: Mapping[tuple[str, ...], str] = {
    ("fp32",): "for CPU and GPU; exact to about 1e-7",
    ("fp16",): "for a GPU, slow on a CPU; cosine from 0.9999",
    ("fp32", "fp16"): "both files; fp32 is served",
    ("fp16", "fp32"): "both files; fp16 is served",
}

_ABOUT = (
    "The fine-tuned model as ONNX, with pooling, normalisation and dimension inside the graph. "
    "enter writes it and proves that it is the same model."
)
_PRECISION_ABOUT = (
    "Written and compared on the CPU here; a service goes on with the export that it has."
)
_PLAN_ABOUT = (
    "Neither the local server nor the NIM here loads a plan: it is for a server of your own, and "
    "it is built, not compared."
)


@dataclass(frozen=True)
class Place:
    """What was looked up of the model and this machine.

    Attributes:
        sizes: about how many bytes the graph of each precision takes; empty while unknown.
        no_tensorrt: why no plan can be built here; empty where one can.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    no_tensorrt: str = ""


def precision_word(dtypes: Sequence[str]) -> str:
    """The graphs that are written, in a word or two."""
    return dtypes[0] if len(dtypes) == 1 else f"{' and '.join(dtypes)}"


def export_choices(settings: ExportSettings, place: Place) -> list[Choice]:
    """What can be chosen before the export."""
    dtypes = settings.dtypes
    size = _size(dtypes, place)
    cost = _COSTS.get(dtypes, f"{dtypes[0]} is served")
    choices = [
        Choice(
            "export.dtypes",
            "precision",
            f"{precision_word(dtypes)}, opset {settings.opset}",
            f"{size}; {cost}" if size else cost,
            _PRECISION_ABOUT,
        )
    ]
    refused = place.no_tensorrt
    if settings.tensorrt and refused:
        hint = f"e turns it off: {refused}"
        plan = Choice("export.tensorrt", "TensorRT", "on", hint, _PLAN_ABOUT, "bad")
    elif refused:
        hint = f"not possible here: {refused}"
        plan = Choice("export.tensorrt", "TensorRT", "off", hint, hint + ". " + _PLAN_ABOUT)
    else:
        value = "on" if settings.tensorrt else "off"
        hint = "also model.plan, for this GPU alone; takes minutes"
        plan = Choice("export.tensorrt", "TensorRT", value, hint, _PLAN_ABOUT)
    return [*choices, plan]


def precision_rows(place: Place) -> list[Row]:
    """The precisions to choose from, each with its size and its cost."""
    return [
        row(
            pad(precision_word(dtypes), 14),
            (pad_left(_size(dtypes, place), 9) + "  ", "strong"),
            (_COSTS[dtypes], "muted"),
        )
        for dtypes in PRECISIONS
    ]


def _size(dtypes: Sequence[str], place: Place) -> str:
    known = [place.sizes[dtype] for dtype in dtypes if dtype in place.sizes]
    return f"~{size_words(sum(known))}" if len(known) == len(dtypes) else ""


def standing_rows(stage: StageState, made: bool, glyphs: Glyphs, width: int) -> list[Row]:
    """Where an export stands that isn't running.

    Args:
        stage: the stage's state.
        made: whether an earlier export's report is shown below.
        glyphs: the signs.
        width: columns.
    """
    below = " Below is the one before it." if made else ""
    kept = "the fine-tuned model is kept"
    states: Mapping[str, tuple[str, str, Tone]] = {
        "done": (glyphs.done, "The export is done. enter goes on to the deployment.", "good"),
        "stale": (
            glyphs.stale,
            f"The export is stale: {stage.reason}. enter exports again.{below}",
            "warn",
        ),
        "failed": (glyphs.failed, f"It failed: {stage.reason} enter tries again.", "bad"),
        "vanished": (
            glyphs.stale,
            f"The worker is gone without a word; {kept}. enter exports again.",
            "warn",
        ),
        "stopped": (
            glyphs.stale,
            f"The export was stopped; {kept}. enter exports again.",
            "warn",
        ),
    }
    glyph, text, tone = states.get(stage.state, (glyphs.waiting, _ABOUT, "text"))
    return [
        row((f" {glyph} " if number == 0 else "   ", tone), (line, tone))
        for number, line in enumerate(wrap(text, width - 4))
    ]


def verdict_rows(graphs: Sequence[tuple[Parity, Gate]], glyphs: Glyphs, width: int) -> list[Row]:
    """Whether each graph is the fine-tuned model, in words, with its worst figures."""
    return [cells for each in graphs for cells in _verdict_rows(*each, glyphs, width)]


def case_rows(graphs: Sequence[tuple[Parity, Gate]]) -> list[Row]:
    """Every text or batch that was compared, graph by graph."""
    rows: list[Row] = []
    for parity, _gate in graphs:
        rows += [(), row((f" {graph_name(parity.dtype)} against the encoder", "muted"))]
        rows += [row(" ", *cells) for cells in _case_rows(parity)]
    return rows


def _verdict_rows(parity: Parity, gate: Gate, glyphs: Glyphs, width: int) -> list[Row]:
    name = graph_name(parity.dtype)
    if parity.faults:
        head = Span(f" {glyphs.failed} {name} is not the fine-tuned model", "bad")
        faults = [line for fault in parity.faults for line in wrap(fault, width - 4)]
        rows = [row(head), *(row("   ", (line, "bad")) for line in faults)]
    else:
        rows = [row((f" {glyphs.done} {name} is the fine-tuned model", "good"))]
    cosine = min((case.cosine for case in parity.cases), default=0.0)
    widest = max((case.absolute for case in parity.cases), default=0.0)
    limit = f" (at most {gate.absolute:g})" if gate.absolute is not None else ""
    places = f"{parity.misplaced} passages misplaced" if parity.misplaced else "equal"
    attention = "both ways" if parity.bidirectional else "one way"
    facts = (
        f"cosine {_cosine(cosine)} or more (at least {gate.cosine:g}); largest difference "
        f"{widest:.1e}{limit}; rankings {places}; attention {attention}; opset {parity.opset}"
    )
    return [*rows, *(row("   ", line) for line in wrap(facts, width - 4))]


def _cosine(value: float) -> str:
    # Rounding may lift it a little above 1.
    return f"{min(value, 1.0):.7f}"


def _case_rows(parity: Parity) -> list[Row]:
    lines = [
        (
            case.name,
            str(case.rows),
            str(case.width),
            _cosine(case.cosine),
            f"{case.absolute:.1e}",
        )
        for case in parity.cases
    ]
    return table(
        ("texts", "rows", "tokens", "least cosine", "difference"), lines, right=(1, 2, 3, 4)
    )


def file_rows(manifest: Manifest, sizes: Mapping[str, int], folder: str, width: int) -> list[Row]:
    """The files of an export with their sizes, and where they lie.

    Args:
        manifest: of the export.
        sizes: bytes by relative path; what is missing there is missing on the disk.
        folder: the export's.
        width: columns.
    """
    lines: list[tuple[str | Span, ...]] = []
    for name in manifest.files:
        size = Span(size_words(sizes[name])) if name in sizes else Span("missing", "bad")
        served = Span("served", "good") if name == manifest.served else Span("")
        lines.append((name, size, served))
    rows = [row(" ", *cells) for cells in table(("file", "size", ""), lines, right=(1,))]
    where = [row((" " + line, "muted")) for line in wrap(f"in {folder}", width - 2)]
    return [*rows, *where]
