"""The work of a trial: what `sdg` does, for a few documents."""

from __future__ import annotations

from pipeline.context import Context, Outcome
from pipeline.corpus.records import read_documents, read_imported, read_passages
from pipeline.errors import BadInput
from pipeline.sdg.ranks import Ranks
from pipeline.sdg.stage import write_samples
from pipeline.sdg.trial import CHOSEN, TRIAL_DOCUMENTS, choose


def execute(context: Context) -> Outcome:
    """Write the samples of a trial's documents.

    The plan of a document doesn't depend on other documents, so the calls are those that `sdg`
    makes for the same settings, and it doesn't pay for them again.

    Raises:
        BadInput: there is nothing to write questions about, or they came with the source.
        NoConsent: nobody has agreed that the documents leave for the endpoint.
        EndpointFailure: the endpoint refuses, is gone, answers nonsense, or its key is missing.
        Busy: another process is asking for this run.
        Interruption: the user asked the trial to end; replies are kept.
    """
    corpus = context.inputs["corpus"].folder
    if any(True for _ in read_imported(corpus)):
        raise BadInput(
            "The questions came with the source: there is nothing to try.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Go on with `embedsmith sdg`, which takes them over.",
        )
    count = int(context.options.get("documents", TRIAL_DOCUMENTS))
    passages = list(read_passages(corpus))
    chosen = choose(read_documents(corpus), passages, context.recipe.seed, count)
    rows = [
        {"id": d.id, "path": d.path, "title": d.title, "passages": [p.id for p in cut]}
        for d, cut in chosen
    ]
    documents = [document for document, _ in chosen]
    # A look at a few questions is over before a model is loaded and has read the corpus.
    with Ranks(passages, "") as ranks:
        return write_samples(context, documents, passages, ranks, {CHOSEN: rows})
