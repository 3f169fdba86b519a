"""Verification's table, from the summary that it leaves."""

from pipeline.deploy.served import ServedRow, served_rows


def metric(name, **changes):
    row = {"metric": name, "stored": 0.5, "served": 0.51, "difference": 0.01}
    return row | {"tolerance": 0.01, "state": "within"} | changes


def test_rows_come_by_set_measure_and_rank():
    summary = {
        "sets": [
            {"name": "mine", "rows": [metric("recall@10"), metric("ndcg@10"), metric("ndcg@5")]},
            {"name": "synthetic", "rows": [metric("ndcg@1", state="outside", tolerance=0.03)]},
        ]
    }
    rows = served_rows(summary)
    assert [(row.set, row.title) for row in rows] == [
        ("mine", "nDCG@5"),
        ("mine", "nDCG@10"),
        ("mine", "Recall@10"),
        ("synthetic", "nDCG@1"),
    ]
    assert rows[-1] == ServedRow("synthetic", "ndcg@1", 0.5, 0.51, 0.01, 0.03, "outside")


def test_nothing_verified_gives_no_rows():
    assert served_rows({}) == ()
