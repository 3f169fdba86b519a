"""The table of metrics and the verdict in words, once for every form."""

import csv
import io
import json

import pytest
from measured import ranked_set, write_evaluation

from pipeline.eval.records import Difference, EvalResult, SetResult
from pipeline.eval.tables import (
    COLUMNS,
    metric_rows,
    ordered_sets,
    to_csv,
    to_json,
    to_markdown,
    verdict_sentence,
)

PLACES = {f"q-{n}": (3, 1 + n % 2, 1) for n in range(60)}


@pytest.fixture
def sets(tmp_path):
    synthetic, mine = ranked_set(PLACES), ranked_set(dict(list(PLACES.items())[:8]))
    return write_evaluation(tmp_path, {"synthetic": synthetic, "mine": mine, "a-second": mine})


def headline(verdict, base, tuned, bm25, low, high, queries=200):
    means = {"base": base, "finetuned": tuned, "bm25": bm25}
    return SetResult(
        name="mine",
        queries=queries,
        passages=1000,
        systems={system: {"ndcg@10": mean} for system, mean in means.items()},
        difference={"ndcg@10": Difference(tuned - base, low, high)},
        headline="ndcg@10",
        verdict=verdict,
    )


def test_the_users_own_sets_lead_and_the_synthetic_one_is_last(sets):
    names = [each.name for each in ordered_sets(EvalResult(sets))]
    assert names == ["mine", "a-second", "synthetic"]
    assert [each.name for each in ordered_sets(EvalResult(sets[:1]))] == ["synthetic"]


def test_a_row_is_one_metric_by_every_system(sets):
    rows = metric_rows(sets[0])
    assert [row.title for row in rows] == [
        *("nDCG@1", "nDCG@10", "Recall@1", "Recall@10"),
        *("Precision@1", "Precision@10", "MAP@1", "MAP@10"),
    ]
    first = rows[0]
    assert (first.set, first.name, first.k, first.queries) == ("synthetic", "ndcg@1", 1, 60)
    assert (first.base, first.finetuned, first.bm25) == (0.0, 0.5, 1.0)
    assert first.difference == 0.5
    assert first.low < 0.5 < first.high


def test_markdown_csv_and_json_say_the_same(sets):
    text = to_markdown(sets)
    table = [line for line in text.splitlines() if line.startswith("| nDCG@1 ")]
    assert table[0].startswith("| nDCG@1 | 0.0000 | 0.5000 | +0.5000 (+0.")
    assert text.count("## Metrics on ") == 3
    assert "## Metrics on mine: 8 queries, 38 passages" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(sets))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 8
    document = json.loads(to_json(sets))
    flat = [row for each in document["sets"] for row in each["rows"]]
    assert [{name: str(value) for name, value in row.items()} for row in flat] == rows
    assert [each["sentence"] for each in document["sets"]] == list(map(verdict_sentence, sets))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            headline("better", 0.549, 0.671, 0.6, 0.071, 0.181),
            "Better: nDCG@10 0.549 -> 0.671, +0.122 (95 % interval +0.071 to +0.181) on 200 "
            "queries. BM25 reaches 0.600, which is less.",
        ),
        (
            headline("worse", 0.6, 0.5, 0.7, -0.2, -0.01),
            "Worse: nDCG@10 0.600 -> 0.500, -0.100 (95 % interval -0.200 to -0.010) on 200 "
            "queries. BM25 beats the fine-tuned model with 0.700.",
        ),
        (
            headline("no clear difference", 0.6, 0.61, 0.61, -0.02, 0.04),
            "No clear difference: nDCG@10 0.600 -> 0.610, +0.010 (95 % interval -0.020 to "
            "+0.040) on 200 queries. BM25 reaches 0.610, the same.",
        ),
        (
            headline("too few queries", 0.549, 0.671, 0.6, 0.071, 0.181, queries=44),
            "Too few queries for a verdict, 50 are the least: nDCG@10 0.549 -> 0.671, +0.122 "
            "(95 % interval +0.071 to +0.181) on 44 queries. BM25 reaches 0.600, which is less.",
        ),
    ],
)
def test_the_verdict_is_one_plain_sentence_and_one_about_bm25(result, said):
    assert verdict_sentence(result) == said
