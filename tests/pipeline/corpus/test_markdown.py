from __future__ import annotations

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.corpus import markdown
from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.spans import Cell, spread
from pipeline.corpus.text import normalise

NASTY = st.text(alphabet="#`~-=|:<>!/?*_+. \n\tab1)\\[]", max_size=40).map(normalise)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(NASTY)
@example("a\n==\n")
@example(" \t# x")
@example("a\n:-:")
@example("|-\n-|")
def test_an_escaped_text_opens_no_heading_table_code_or_html(text):
    after = "\n\n# After\n\nwords"
    blocks = markdown_blocks(markdown.escape(text) + after)
    assert {block.kind for block in blocks[:-2]} <= {"paragraph", "list"}
    assert [block.kind for block in blocks[-2:]] == ["heading", "paragraph"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="`~ \nab#", max_size=60))
def test_a_fence_holds_its_code_whole(code):
    made = markdown.fence(code)
    if made:
        assert [block.kind for block in markdown_blocks(f"a\n\n{made}\n\nb")] == [
            "paragraph",
            "code",
            "paragraph",
        ]
        assert code.split() == made.split("\n", 1)[1].rpartition("\n")[0].split()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.lists(NASTY, min_size=1, max_size=4), min_size=2, max_size=4))
def test_a_table_is_one_block_whatever_its_cells_say(rows):
    made = f"a\n\n{markdown.pipe_table(rows)}\n\nb"
    assert [block.kind for block in markdown_blocks(made)] == ["paragraph", "table", "paragraph"]


def test_items_hold_their_blocks_and_lists():
    made = markdown.item("10.", ["a\nb", "- c\n- d", "```\nx\n```"])
    assert made == "10. a\n    b\n    - c\n    - d\n\n    ```\n    x\n    ```"
    assert [block.kind for block in markdown_blocks(made)] == ["list"]


def test_a_merged_cell_never_multiplies_a_long_text_without_end():
    rows = [[Cell("x" * 10_000, columns=60, rows=500)]] + [[Cell("y")]] * 500
    assert sum(len(text) for row in spread(rows) for text in row) < 60_000


def test_merged_cells_without_text_cost_no_time():
    rows = [[Cell("", columns=60, rows=9999)] * 2000] + [[Cell("y")]] * 20_000
    started = time.perf_counter()
    assert sum(map(len, spread(rows))) < 400_000
    assert time.perf_counter() - started < 2


def test_headers_of_two_rows_become_one():
    rows = [[Cell("N", rows=2), Cell("T", columns=2)], [Cell("a"), Cell("b")], [Cell("1")]]
    assert spread(rows, headers=2) == [["N", "T a", "T b"], ["1"]]
