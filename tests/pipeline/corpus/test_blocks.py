from __future__ import annotations

from pipeline.corpus.blocks import first_heading, markdown_blocks, text_blocks

PAGE = """# Install `it` [now](http://x)

First words
over two lines.

[ref]: http://example.com

## Options

- one

  more of one
- two

| a | b |
|---|---|
| 1 | 2 |

```python
# no heading

x = 1
```

Under
=====

    indented

<div>
html
</div>
"""


def test_markdown_becomes_blocks_with_levels_and_titles():
    blocks = markdown_blocks(PAGE)
    assert [(block.kind, block.level) for block in blocks] == [
        ("heading", 1),
        ("paragraph", 0),
        ("paragraph", 0),
        ("heading", 2),
        ("list", 0),
        ("table", 0),
        ("code", 0),
        ("heading", 1),
        ("code", 0),
        ("code", 0),
    ]
    assert first_heading(blocks) == "Install it now"
    assert PAGE[blocks[2].start : blocks[2].end] == "[ref]: http://example.com"
    assert PAGE[blocks[7].start : blocks[7].end] == "Under\n====="
    assert blocks[7].title == "Under"


def test_plain_text_parts_at_blank_lines_and_has_no_headings():
    text = "# not a heading\nline\n \t\n\n  second  \n"
    blocks = text_blocks(text)
    assert [text[b.start : b.end] for b in blocks] == ["# not a heading\nline", "second"]
    assert {block.level for block in blocks} == {0}


def test_a_text_of_blanks_has_no_blocks():
    assert markdown_blocks(" \n\t\n") == text_blocks("\n\n") == markdown_blocks("") == []
