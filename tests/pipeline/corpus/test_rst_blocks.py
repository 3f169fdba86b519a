from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.rst_blocks import rst_blocks


def blocks(source):
    text = textwrap.dedent(source).strip("\n")
    return [(block.kind, text[block.start : block.end]) for block in rst_blocks(text)]


def kinds(source):
    return [kind for kind, _ in blocks(source)]


def test_headings_get_their_levels_by_the_first_use_of_their_adornment():
    text = "=====\nTitle\n=====\n\nOne\n===\n\nTwo\n---\n\nx\n\nThree\n=====\n\n~~~~\nDeep\n~~~~\n"
    found = [(block.level, block.title) for block in rst_blocks(text) if block.kind == "heading"]
    assert found == [(1, "Title"), (2, "One"), (3, "Two"), (2, "Three"), (4, "Deep")]


def test_a_title_is_read_without_its_marks():
    text = "The ``run`` :ref:`command <run>` and `page <http://x.y>`_ of *it*\n" + "=" * 66
    assert rst_blocks(text)[0].title == "The run command <run> and page of it"


def test_literal_blocks_and_code_directives_are_code():
    assert blocks(
        """
        Run this::

            make

            make test

        Then:

        .. code-block:: python
           :linenos:

           x = 1

           y = 2

        >>> x
        1

        .. figure:: a.png
        """
    ) == [
        ("paragraph", "Run this::"),
        ("code", "make\n\n    make test"),
        ("paragraph", "Then:"),
        ("code", ".. code-block:: python\n   :linenos:\n\n   x = 1\n\n   y = 2"),
        ("code", ">>> x\n1"),
        ("paragraph", ".. figure:: a.png"),
    ]


def test_the_prose_of_a_directive_is_read_as_prose():
    source = """
        .. note::

           Mind the gap.

           - a
           - b

        .. function:: run(x)

           Runs ``x``::

               run(1)
        """
    assert kinds(source) == ["paragraph", "paragraph", "list", "paragraph", "paragraph", "code"]


@pytest.mark.parametrize(
    "table",
    [
        "+---+---+\n| a | b |\n+===+===+\n| 1 | 2 |\n|   |   |\n+---+---+",
        "=== ===\na   b\n=== ===\n1   2\n\n3   4\n=== ===",
        "=== ===\n1   2\n=== ===",
        ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b",
    ],
)
def test_tables_stay_whole(table):
    assert blocks(f"before\n\n{table}\n\nafter") == [
        ("paragraph", "before"),
        ("table", table),
        ("paragraph", "after"),
    ]


def test_lists_hold_what_is_indented_below_their_items():
    assert blocks(
        """
        Text:

        - a

          more of a

          - inner
        - b

        #. one
        #. two

        :param x: what
           it is
        :return: y

        (a) letter

        After.
        """
    ) == [
        ("paragraph", "Text:"),
        ("list", "- a\n\n  more of a\n\n  - inner\n- b"),
        ("list", "#. one\n#. two"),
        ("list", ":param x: what\n   it is\n:return: y"),
        ("list", "(a) letter"),
        ("paragraph", "After."),
    ]


def test_a_definition_stays_with_its_term_and_a_rule_is_no_heading():
    source = "term\n   what it is\n\n----\n\nnext\n\n... and so on\n\nA. Einstein said\nthis."
    assert kinds(source) == ["paragraph"] * 5


@settings(max_examples=800, deadline=None, derandomize=True)
@given(st.text(alphabet="=-~+|.:`*>#a1 \n\t", max_size=120))
def test_every_character_lies_in_one_block_and_none_crashes(text):
    end = 0
    for block in rst_blocks(text):
        assert not text[end : block.start].strip()
        assert block.start < block.end
        assert text[block.start : block.end] == text[block.start : block.end].strip()
        end = block.end
    assert not text[end:].strip()
