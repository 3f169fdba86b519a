"""The work of a preview: how scores lie, and what each rule would leave; no training file."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from pipeline.context import Context, Outcome
from pipeline.files import write_json
from pipeline.mining.mine import Miner
from pipeline.mining.preview import preview
from pipeline.prep.preview import PREVIEW_FILE
from pipeline.prep.stage import read_kept
from pipeline.prep.teacher import find_teacher, material_of, reranker_of


def execute(context: Context) -> Outcome:
    """Score the kept training samples as `prep` would, and count by rule.

    What is encoded for it lies in the cache, so `prep` doesn't do it again.

    Raises:
        BadInput: no training sample is kept, or none of a sample's passages exists.
        MissingPart: the weights of the base model or the teacher are not on this machine.
        StageFailure: memory is full; then it has a remedy.
    """
    passages, kept = read_kept(context)
    samples = kept.samples["train"]
    material = material_of(context, find_teacher(context), samples, passages)
    shown = preview(
        Miner(material.pool, context.device),
        len(material.pool.ids),
        material.wanted,
        context.recipe.prep,
        partial(context.report, what="queries mined, by every rule"),
        reranker_of(context),
    )
    write_json(context.folder / PREVIEW_FILE, asdict(shown))
    context.events.artifact(PREVIEW_FILE, "how scores lie, and what each rule would leave")
    return Outcome(
        outputs=(PREVIEW_FILE,),
        summary={"questions": shown.questions, "passages": shown.passages},
    )
