"""What the review costs with many samples. By hand: `python tests/benchmarks/review_core.py`."""

from __future__ import annotations

import functools
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.corpus.records import DOCUMENTS, PASSAGES, Document, Passage, Role
from pipeline.files import canonical_json, write_jsonl
from pipeline.review.decisions import Action, DecisionEvent
from pipeline.review.draw import AuditDraw
from pipeline.review.filters import parse_filter, select
from pipeline.review.index import Entry, load_index
from pipeline.review.log import DecisionReader, append_decision, read_decisions
from pipeline.review.passages import PassageIndex
from pipeline.review.progress import review_progress
from pipeline.review.queue import ORDERS, build_order
from pipeline.review.standing import Standing
from pipeline.review.tally import Tally
from pipeline.sdg.records import SAMPLES, Flag, Quote, Sample


def write_run(folder: Path, count: int, seed: int = 0) -> None:
    """Documents, passages and `count` samples as long as real ones."""
    draw = random.Random(seed)
    words = [f"word{n}" for n in range(2000)]
    roles: tuple[Role, ...] = ("test", "dev", "train", "train", "train")
    passages, documents = [], []
    for number in range(max(1, count // 200)):
        name = f"d-{number:016x}"
        role: Role = roles[number % 5]
        documents.append(
            Document(
                name,
                f"guide/part-{number % 7}/{number}.md",
                f"Part {number}",
                "x" * 20000,
                name,
                number % 5,
                role,
            )
        )
        for place in range(30):
            text = " ".join(draw.choices(words, k=180))
            passages.append(
                Passage(
                    f"p-{number:08x}{place:08x}",
                    name,
                    place * 1500,
                    place * 1500 + len(text),
                    text,
                    ("Guide",),
                    256,
                    role,
                )
            )
    write_jsonl(folder / DOCUMENTS, map(asdict, documents))
    write_jsonl(folder / PASSAGES, map(asdict, passages))
    write_jsonl(folder / SAMPLES, (asdict(_sample(n, passages, words, draw)) for n in range(count)))


def _sample(number: int, passages: list[Passage], words: list[str], draw: random.Random) -> Sample:
    evidence = draw.sample(passages, draw.choice((1, 1, 2, 3)))
    blocked = draw.random() < 0.05
    flags = (Flag("pointing", "the question says 'above'", True),) if blocked else ()
    return Sample(
        id=f"q-{number:016x}",
        question=" ".join(draw.choices(words, k=14)) + "?",
        answer=" ".join(draw.choices(words, k=40)),
        passages=tuple(p.id for p in evidence),
        quotes=tuple(Quote(p.id, 0, 90, p.text[:90]) for p in evidence),
        role=evidence[0].role,
        score=None if blocked else round(min(10.0, max(0.0, draw.gauss(7.4, 1.4))), 2),
        levels=dict.fromkeys(("answerable", "supported", "standalone", "natural"), 2.0),
        flags=flags,
        complexity=draw.randint(2, 5),
        hops=len(evidence),
        kind="factual multi-hop",
        writer="model",
    )


def milliseconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """The shortest of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def measure(folder: Path, count: int) -> dict[str, float]:
    """What each part costs with `count` samples and as many decisions in the log."""
    costs = {"passages, ms": milliseconds(lambda: PassageIndex(folder).read_all())}
    passages = PassageIndex(folder).read_all()
    costs["index, ms"] = milliseconds(lambda: load_index(folder, passages))
    tracemalloc.start()
    index = load_index(folder, passages)
    costs["index, bytes a sample"] = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    entries = index.entries
    path = folder / "review" / "decisions.jsonl"
    write_log(path, [entry.id for entry in entries])
    costs["log of as many decisions, ms"] = milliseconds(lambda: read_decisions(path))
    events = read_decisions(path)
    costs["fold it, ms"] = milliseconds(lambda: _fold(events))
    standing = _fold(events[: count // 10])
    decisions, skipped = standing.decisions, standing.skipped

    def tallied() -> Tally:
        tally = Tally()
        tally.add(entries, decisions)
        return tally

    tally, draw = tallied(), AuditDraw(1)
    costs["tally built, ms"] = milliseconds(tallied)
    costs["counts at a threshold, ms"] = milliseconds(lambda: tally.counts(6.3), 20)
    costs["histogram, ms"] = milliseconds(tally.histogram, 20)
    costs["audit keyed, ms"] = milliseconds(lambda: AuditDraw(1).add(entries))
    draw.add(entries)
    costs["audit drawn, ms"] = milliseconds(lambda: draw.draw(7.0, decisions), 20)
    audit = draw.draw(7.0, decisions)
    for order in ORDERS:
        costs[f"order {order}, ms"] = milliseconds(
            functools.partial(build_order, order, entries, 7.0, audit)
        )
    test = [entry.id for entry in entries if entry.role == "test"]
    costs["progress, ms"] = milliseconds(
        lambda: review_progress(test, audit, decisions, skipped), 20
    )
    for query in ("word17", "absent nowhere", "score<6.5 -flag:any kept:no role:train"):
        wanted = parse_filter(query)
        costs[f"filter {query}, ms"] = milliseconds(
            functools.partial(select, wanted, entries, decisions, skipped, 7.0)
        )
    costs |= _decide(path, entries, standing, tally)
    return costs


def _fold(events: Sequence[DecisionEvent]) -> Standing:
    standing = Standing()
    for event in events:
        standing.apply(event)
    return standing


def _decide(
    path: Path, entries: Sequence[Entry], standing: Standing, tally: Tally
) -> dict[str, float]:
    """One decision from key to counts, and one bulk action over everything."""
    accept = Action("accept", (entries[-1].id,))
    costs = {"append to the log (synced), ms": milliseconds(lambda: append_decision(path, accept))}
    reader = DecisionReader(path)
    reader.read()
    costs["look at a log without news, ms"] = milliseconds(reader.read, 20)
    event = append_decision(path, accept)
    costs["read the news, ms"] = milliseconds(reader.read, 1)

    def apply(action: Action) -> None:
        changed = standing.apply(DecisionEvent(event.seq, 0.0, action))
        tally.update(changed, standing.decisions)
        tally.counts(7.0)

    costs["apply and count it, ms"] = milliseconds(lambda: apply(accept), 1)
    bulk = Action("reject", tuple(entry.id for entry in entries), source="bulk")
    costs["bulk reject of all, ms"] = milliseconds(lambda: apply(bulk), 1)
    costs["undo it, ms"] = milliseconds(lambda: apply(Action("undo")), 1)
    return costs


def write_log(path: Path, samples: Sequence[str]) -> None:
    """A log with one accept a sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for seq, sample in enumerate(samples, start=1):
            row = {"action": "accept", "format": 1, "samples": [sample], "seq": seq}
            stream.write(canonical_json({**row, "source": "manual", "time": 1.5}) + "\n")


def main(sizes: Sequence[int]) -> None:
    """Print one column a size."""
    columns = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            write_run(Path(name), count)
            columns.append(measure(Path(name), count))
    print(f"{'':<50}" + "".join(f"{count:>12,}" for count in sizes))
    for what in columns[0]:
        print(f"{what:<50}" + "".join(f"{column[what]:>12,.3f}" for column in columns))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10_000, 100_000])
