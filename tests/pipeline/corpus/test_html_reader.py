from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.html_reader import declared_encoding, read_html
from pipeline.corpus.reading import Reading, Skipped


def page(html):
    reading = read_html(html.encode(), "cp1252")
    assert isinstance(reading, Reading), reading
    return reading


def text(html):
    return page(html).text


def kinds(html):
    return [block.kind for block in markdown_blocks(text(html))]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<h1>A <b>b</b></h1><h3>C</h3>x", "# A b\n\n### C\n\nx"),
        ("<p>one<p>two<div>three</div>four", "one\n\ntwo\n\nthree\n\nfour"),
        ("<p>un<b>brok</b>en <i>w</i>ord<wbr>s", "unbroken words"),
        ("<p>a\n  b&nbsp;&amp; &lt;c&gt; &#8364;", "a b & <c> €"),
        ("<p>one<br>two<br><br>three", "one\ntwo\n\nthree"),
        ("<p>see <a href='http://x.y'>the page</a>.", "see the page."),
        ("<p><img src=x alt='a pump'> runs", "a pump runs"),
        ("<p>10<sup>3</sup> H<sub>2</sub>O x<sub>max</sub>", "10^3 H2O x_max"),
        ("<ul><li>a<ul><li>b<li>c</ul><li>d</ul>", "- a\n  - b\n  - c\n- d"),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a\n7. b\n8. c"),
        ("<ul><li><p>a<p>b</ul>", "- a\n\n  b"),
        ("<ul>a<ul><li>b</ul></ul>", "- a\n  - b"),
        ("<dl><dt>valve<dd>a part</dl>", "valve\n\na part"),
        ("<pre>  x\n\n  y</pre>", "```\n  x\n\n  y\n```"),
        ("<pre><code class='language-sh'>ls<br>cd</code></pre>", "```sh\nls\ncd\n```"),
        (
            "<div class='highlight-python3 notranslate'><div><pre><b>x</b> = 1</pre></div></div>",
            "```python\nx = 1\n```",
        ),
        ("<pre>a ``` b</pre>", "````\na ``` b\n````"),
        (
            "<table><tr><th>a<th>b|c<tr><td>1<td>2<br>3</table>",
            "| a | b\\|c |\n| --- | --- |\n| 1 | 2 3 |",
        ),
        (
            "<table><caption>T</caption><tr><td>a<td>b<tr><td>c<td>d</table>",
            "T\n\n| a | b |\n| --- | --- |\n| c | d |",
        ),
        ("<table><tr><td><h2>x</h2><td>y</table>", "## x\n\ny"),
        ("<ul><li><h2>Card</h2>words<li><h2>Other</h2></ul>", "## Card\n\nwords\n\n## Other"),
        ("<blockquote><p>a</blockquote>b", "a\n\nb"),
        ("<h2>Install<a class=headerlink href='#i'>¶</a></h2>", "## Install"),
        ("<h2>Install<a href='#i'>#</a></h2>", "## Install"),
        ("<h2>C #</h2>", "## C \\#"),
        ("a<custom-tag>b</custom-tag>c", "abc"),
    ],
)
def test_a_page_becomes_markdown(html, expected):
    assert text(html) == expected


def test_merged_cells_say_their_text_in_each_of_their_places():
    html = (
        "<table><thead><tr><th rowspan=2>N<th colspan=2>Latency<tr><th>p50<th>p99</thead>"
        "<tr><td rowspan=2>z<td>1<td>2<tr><td>3<td>4</table>"
    )
    assert text(html).split("\n") == [
        "| N | Latency p50 | Latency p99 |",
        "| --- | --- | --- |",
        "| z | 1 | 2 |",
        "| z | 3 | 4 |",
    ]


def test_furniture_and_scripts_are_left_out():
    html = (
        "<title>x</title><nav>menu</nav><div role=navigation>more</div><script>var a</script>"
        "<style>p {}</style><template><p>t</template><noscript>enable it</noscript>"
        "<button>Copy</button><select><option>o</select><svg><text>s</text></svg><p>kept"
    )
    assert text(html) == "kept"


def test_the_main_part_stands_for_the_page_where_it_holds_most_of_it():
    side, body = "<div>side bar</div>", "<p>" + "words of the article " * 5
    assert "side" not in text(f"{side}<main>{body}</main>")
    assert "side" not in text(f"{side}<div role=main>{body}</div>")
    assert "side" in text(f"{side}{body}<main>short</main>")
    assert "side" in text(f"{side}<main>{body}</main><main>{body}</main>")


def test_the_title_is_the_pages_own():
    assert page("<svg><title>icon</title></svg><p>x").title == ""
    assert page("<title> The\n valve &amp; pump </title><p>x").title == "The valve & pump"


@pytest.mark.parametrize(
    "line",
    ["# not a heading", "```", "~~~", "---", "===", "| --- | --- |", "a | b<br>--- | ---",
     "&lt;div>", "&lt;!-- x", "&lt;?php", "> quoted", "text<br>===", "text<br>---",
     "a&#8232;# b", "a&#133;===", "&#12288;# c"],
)  # fmt: skip
def test_a_paragraph_stays_a_paragraph_whatever_it_says(line):
    assert kinds(f"<p>{line}</p><p>after</p>") == ["paragraph", "paragraph"]


def test_only_what_would_be_structure_is_escaped():
    plain = "C# and #tag, 3 > 2, a|b, *stars*, under_score, [link](x), 1. one, -1 and <b"
    assert text(f"<p>{plain.replace('<', '&lt;')}</p>") == plain


@pytest.mark.parametrize("language", ["a b", "x`y", "l" * 40])
def test_a_language_that_is_no_word_is_not_written(language):
    assert text(f"<pre class='language-{language}'>x</pre>").count("\n") == 2
    assert "`y" not in text(f"<pre class='language-{language}'>x</pre>")


def test_the_encoding_is_the_mark_or_utf8_or_declared_or_the_setting():
    html = "<meta charset=windows-1251><p>документ"
    for content in (html.encode("cp1251"), html.encode(), html.encode("utf-16")):
        reading = read_html(content, "cp1252")
        assert (reading.text, reading.remark) == ("документ", "")
    guessed = read_html("<p>déjà".encode("cp1252"), "cp1252")
    assert (guessed.text, guessed.remark) == ("déjà", "read as Windows-1252: not UTF-8")
    content = b'<META http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">'
    assert declared_encoding(content) == "cp1252"


def test_a_page_of_scripts_is_skipped():
    skipped = read_html(b"<html><script>run()</script><nav>menu</nav>", "cp1252")
    assert isinstance(skipped, Skipped)
    assert "no text" in skipped.reason


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 5000 + "word",
        "<b>" * 5000 + "word",
        "<ul><li>" * 3000 + "word",
        "<table><tr><td>" * 2000 + "word",
        "<table><tr><td rowspan=9999 colspan=999>word" + "<tr><td>x" * 5000,
        "<h1>" * 2000 + "word",
        "word" + "<br>" * 50_000,
        "<p>" * 50_000 + "word",
    ],
    ids=lambda html: html[:20],
)
def test_no_page_is_too_deep_and_none_blows_up(html):
    started = time.perf_counter()
    reading = page(html)
    assert "word" in reading.text
    assert len(reading.text) < 2 * len(html) + 100_000
    assert time.perf_counter() - started < 5


TAGS = (
    "p div b i a span code h1 h2 h6 ul ol li table tr td th pre blockquote dl dt dd br section "
    "main article sup sub em custom-x center details summary figure figcaption thead caption form "
    "label"
)


@st.composite
def random_html(draw):
    """Tags without any order and words that all differ."""
    pieces, words = [], []
    for at in range(draw(st.integers(1, 40))):
        tag = draw(st.sampled_from(TAGS.split()))
        form = draw(st.sampled_from(["open", "close", "word", "word", "marks", "span"]))
        if form == "open":
            pieces.append(f"<{tag}>")
        elif form == "close":
            pieces.append(f"</{tag}>")
        elif form == "span":
            pieces.append(f"<td colspan={draw(st.integers(0, 70))} rowspan=3>")
        else:
            words.append(f"w{at}z")
            mark = draw(st.sampled_from(["# ", "- ", "```", "| ", "--- ", "1. ", "===\n", "> "]))
            pieces.append(f" {mark if form == 'marks' else ''}w{at}z ")
    return "".join(pieces), words


@settings(max_examples=150, deadline=None, derandomize=True)
@given(random_html())
def test_no_word_of_a_page_is_lost(given_page):
    html, words = given_page
    reading = read_html(html.encode(), "cp1252")
    found = reading.text if isinstance(reading, Reading) else ""
    mains = len(re.findall("<main>", html))
    if mains != 1:
        assert [word for word in words if word not in found] == []
    for block in markdown_blocks(found):
        assert found[block.start : block.end].strip()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="<>/=\"'&;#!-ptdrulia bhx1\n`|\u2028\x85\xa0", max_size=120))
def test_no_page_crashes_the_reader(html):
    assert isinstance(read_html(html.encode(), "cp1252"), Reading | Skipped)
