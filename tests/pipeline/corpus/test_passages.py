from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.blocks import markdown_blocks, table_header, text_blocks
from pipeline.corpus.passages import cut_all, cut_passages, passage_id
from pipeline.corpus.rst_blocks import rst_blocks
from pipeline.corpus.text import normalise
from pipeline.settings import CorpusSettings

SMALL = CorpusSettings(passage_tokens=24, passage_tokens_max=40)

words = st.text(alphabet="abcde .!?é漢。\u00a0\u3000*_`<>|&", min_size=1, max_size=60)
fragments = st.one_of(
    words,
    st.builds(lambda level, title: "#" * level + " " + title, st.integers(1, 6), words),
    st.builds(lambda title, mark: f"{title}\n{mark * 3}", words, st.sampled_from("=-")),
    st.builds(lambda lines: "```\n" + "\n".join(lines) + "\n```", st.lists(words, max_size=6)),
    st.builds(lambda line: f"~~~\n{line}", words),
    st.builds(lambda items: "\n".join(f"- {one}" for one in items), st.lists(words, max_size=6)),
    st.builds(
        lambda rows: "| a | b |\n|---|---|\n" + "\n".join(f"| {one} | x |" for one in rows),
        st.lists(words, max_size=6),
    ),
    st.builds(lambda line: f"> {line}\n> {line}", words),
    st.builds(lambda line: f"[{line}]: http://x", words),
    st.builds(lambda line: f"    {line}\n\n\t{line}", words),
    st.builds(lambda line: f"<!-- {line}", words),
    st.builds(
        lambda word, count: word * count,
        st.sampled_from(["x", "漢", "ab ", "1."]),
        st.integers(1, 400),
    ),
)
markdown = st.builds(
    lambda parts: "".join(part + gap for part, gap in parts),
    st.lists(
        st.tuples(fragments, st.sampled_from(["\n", "\n\n", "\n \n", "\r\n\r\n"])), max_size=14
    ),
)


def check_passages(text, slices, counter, cap):
    """Order, exact slices, no blank ends, every other character once, and the cap."""
    behind = 0
    for one in slices:
        assert behind <= one.start < one.end <= len(text)
        assert not text[behind : one.start].strip()
        piece = text[one.start : one.end]
        assert piece == piece.strip()
        assert one.tokens == counter.count([piece])[0]
        assert one.tokens <= cap
        behind = one.end
    assert not text[behind:].strip()


@settings(max_examples=150, deadline=None)
@given(markdown)
def test_passages_of_any_markdown_cover_it_exactly_and_keep_the_cap(minilm, raw):
    text = normalise(raw)
    slices = cut_passages(text, markdown_blocks(text), minilm, SMALL)
    check_passages(text, slices, minilm, SMALL.passage_tokens_max)


@settings(max_examples=100, deadline=None)
@given(markdown)
def test_a_tokenizer_that_counts_blanks_keeps_the_cap_too(byte_bpe, raw):
    text = normalise(raw)
    for blocks in (markdown_blocks(text), text_blocks(text)):
        slices = cut_passages(text, blocks, byte_bpe, SMALL)
        check_passages(text, slices, byte_bpe, SMALL.passage_tokens_max)


def covers(slices, start, end):
    return any(one.start <= start and end <= one.end for one in slices)


@settings(max_examples=150, deadline=None)
@given(markdown)
def test_only_what_is_longer_than_the_cap_is_ever_parted(byte_bpe, raw):
    text = normalise(raw)
    blocks = [block for block in markdown_blocks(text) if block.kind in ("code", "table")]
    slices = cut_passages(text, markdown_blocks(text), byte_bpe, SMALL)
    for block in blocks:
        (tokens,) = byte_bpe.count([text[block.start : block.end]])
        if tokens <= SMALL.passage_tokens_max:
            assert covers(slices, block.start, block.end)


@settings(max_examples=150, deadline=None)
@given(markdown)
def test_a_slice_has_header_rows_only_where_it_begins_below_them(minilm, raw):
    text = normalise(raw)
    blocks = markdown_blocks(text)
    tables = [block for block in blocks if block.kind == "table"]
    for one in cut_passages(text, blocks, minilm, SMALL):
        inside = [block for block in tables if block.start < one.start < block.end]
        if one.table_header:
            (table,) = inside
            assert text[table.start :].startswith(one.table_header)
            assert one.table_header.count("\n") == 1
        elif inside:
            header = table_header(text[inside[0].start : inside[0].end])
            small = 2 * minilm.count([header])[0] <= SMALL.passage_tokens_max
            assert not small or one.start < inside[0].start + len(header)


@settings(max_examples=60, deadline=None)
@given(st.lists(markdown, max_size=4))
def test_documents_cut_together_are_cut_as_each_alone(byte_bpe, raws):
    pairs = [(text, markdown_blocks(text)) for text in map(normalise, raws)]
    together = cut_all(pairs, byte_bpe, SMALL)
    assert together == [cut_passages(text, blocks, byte_bpe, SMALL) for text, blocks in pairs]


def test_later_slices_of_a_long_table_carry_its_header(minilm):
    rows = [f"| row {number} | some cell text |" for number in range(30)]
    text = "\n".join(["Before.", "", "| a | b |", "|---|---|", *rows, "", sentence(30, "after")])
    slices = cut_passages(text, markdown_blocks(text), minilm, SMALL)
    headers = [one.table_header for one in slices]
    assert headers[0] == ""
    assert headers[-1] == ""
    assert set(headers[1:-1]) == {"| a | b |\n|---|---|"}
    assert all(
        minilm.count([f"{one.table_header}\n{text[one.start : one.end]}"])[0] <= 40
        for one in slices
    )


GRID = """+-----+-----+
| a   | b   |
+=====+=====+
{}"""
GRID_ROW = "| {:>3} | txt |\n+-----+-----+\n"
SIMPLE = "=====  =====\na      b\n=====  =====\n{}=====  ====="


@pytest.mark.parametrize(
    ("table", "header"),
    [
        (GRID.format("".join(GRID_ROW.format(n) for n in range(12))), GRID[:41]),
        (SIMPLE.format("".join(f"{n:>5}  text\n" for n in range(40))), SIMPLE[:34]),
        ("a | b\n--|--\n" + "1 | 2\n" * 40, "a | b\n--|--"),
        ("no table\nat all", ""),
        ("+---+\n| 1 |\n+---+\n| 2 |\n+---+", ""),
    ],
)
def test_header_rows_of_every_kind_of_table(table, header):
    assert table_header(table) == header


def test_a_long_table_of_restructuredtext_carries_its_header_too(minilm):
    text = GRID.format("".join(GRID_ROW.format(n) for n in range(12)))
    slices = cut_passages(text, rst_blocks(text), minilm, SMALL)
    assert {one.table_header for one in slices[1:]} <= {GRID[:41], ""}
    check_passages(text, slices, minilm, SMALL.passage_tokens_max)


def test_a_rule_without_end_is_no_trap():
    started = time.process_time()
    table_header("a | b\n" + "-" * 50_000 + "x")
    table_header("+" + "=" * 50_000 + "x\ny")
    assert time.process_time() - started < 1


def cut(text, counter, target=24, cap=40):
    chosen = CorpusSettings(passage_tokens=target, passage_tokens_max=cap)
    slices = cut_passages(text, markdown_blocks(text), counter, chosen)
    return [(text[one.start : one.end], one.headings) for one in slices]


def sentence(words, mark):
    return " ".join([mark] * words) + "."


def test_a_passage_doesnt_cross_a_heading_of_its_own_level(minilm):
    text = f"# T\n\n## A\n\n{sentence(12, 'one')}\n\n## B\n\n{sentence(12, 'two')}\n"
    assert cut(text, minilm) == [
        (f"# T\n\n## A\n\n{sentence(12, 'one')}", ("T", "A")),
        (f"## B\n\n{sentence(12, 'two')}", ("T", "B")),
    ]


def test_a_passage_takes_in_deeper_headings(minilm):
    text = f"## A\n\n{sentence(8, 'one')}\n\n### Deep\n\n{sentence(6, 'two')}\n"
    assert cut(text, minilm) == [(text.strip(), ("A",))]


def test_a_tiny_section_joins_the_next(minilm):
    text = f"## A\n\nTiny.\n\n## B\n\n{sentence(12, 'two')}\n"
    assert cut(text, minilm) == [(text.strip(), ("A",))]


def test_a_tiny_end_of_a_section_joins_what_it_belongs_to(minilm):
    text = f"## A\n\n{sentence(20, 'one')}\n\nTail.\n\n## B\n\n{sentence(14, 'two')}\n"
    found = cut(text, minilm, target=24, cap=40)
    assert [headings for _, headings in found] == [("A",), ("B",)]
    assert found[0][0].endswith("Tail.")


def test_a_heading_stays_with_what_it_stands_above(minilm):
    text = f"{sentence(30, 'one')}\n\n# Next\n\n{sentence(30, 'two')}\n"
    assert [piece.split()[0] for piece, _ in cut(text, minilm)] == ["one", "#"]


def test_a_fence_stays_whole_up_to_the_cap_and_then_parts_at_line_ends(minilm):
    short = "```\n" + "\n".join(["a b c"] * 8) + "\n```"
    assert (short, ()) in cut(f"{sentence(20, 'one')}\n\n{short}\n", minilm)
    long = "```\n" + "\n".join(["a b c d"] * 40) + "\n```"
    pieces = [piece for piece, _ in cut(long, minilm)]
    assert len(pieces) > 3
    assert all(line in ("a b c d", "```") for piece in pieces for line in piece.split("\n"))


def test_rows_of_a_long_table_stay_whole(minilm):
    rows = [f"| row {number} | some cell text |" for number in range(30)]
    table = "\n".join(["| a | b |", "|---|---|", *rows])
    pieces = [piece for piece, _ in cut(table, minilm)]
    assert [line for piece in pieces for line in piece.split("\n")] == table.split("\n")
    assert len(pieces) > 5


def test_a_long_paragraph_parts_at_sentence_ends(minilm):
    text = " ".join(sentence(9, f"word{n}") for n in "abcdef")
    assert all(piece.endswith(".") for piece, _ in cut(text, minilm))


def test_a_word_without_end_parts_between_tokens(byte_bpe):
    text = "漢" * 500
    assert "".join(piece for piece, _ in cut(text, byte_bpe)) == text


def test_passage_ids_follow_document_and_offsets():
    ids = {passage_id("d1", 0, 5), passage_id("d2", 0, 5), passage_id("d1", 1, 5)}
    assert len(ids) == 3
    assert all(one.startswith("p-") and len(one) == 18 for one in ids)


@pytest.mark.parametrize("unit", ["# H\n\nSome words here.\n\n", "word ", "- item\n"])
def test_a_long_text_is_cut_quickly(minilm, unit):
    text = unit * (120_000 // len(unit))
    started = time.process_time()
    slices = cut_passages(text, markdown_blocks(text), minilm, CorpusSettings())
    assert time.process_time() - started < 10
    check_passages(text, slices, minilm, CorpusSettings().passage_tokens_max)
