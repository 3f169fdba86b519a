"""What the Review step shows, as rows: nothing of the evidence is lost, nothing is restyled."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.decisions import Decision
from pipeline.review.edit_text import Edited
from pipeline.review.filters import EVERYTHING, parse_filter
from pipeline.review.index import Entry
from pipeline.review.progress import ReviewProgress
from pipeline.review.tally import Tally
from pipeline.sdg.records import Flag, Quote, Sample
from tui.glyphs import ASCII, UNICODE
from tui.review.desk import SampleView
from tui.review.evidence import Evidence, joined, pieces, whole_rows, windows
from tui.review.rows import enough_rows, head_rows, place_row, sample_row
from tui.review.sample_rows import sample_pages
from tui.rows import plain, width_of

SENTENCES = "One pump stops at 3 bar. The valve opens then. Nobody waits for it. All is well. "


def entry(name="q-1", score=7.5, role="train", **fields):
    known = {
        "document": "d",
        "path": "guide/pumps.md",
        "flags": (),
        "blocking": False,
        "hops": 1,
        "complexity": 3,
        "kind": "factual",
        "passage": "p-1",
        "place": 0,
        "offset": 0,
        "length": 0,
    }
    return Entry(id=name, question="When?", score=score, role=role, **{**known, **fields})


def view(text=SENTENCES * 8, quote="The valve opens then.", decision=None, **fields):
    start = text.rindex(quote)
    quotes = (Quote("p-1", start, start + len(quote), quote),)
    sample = Sample(
        "q-1",
        "When does the valve open?",
        fields.pop("answer", "When the pump stops."),
        ("p-1",),
        quotes,
        "train",
        7.5,
        **fields,
    )
    evidence = Evidence(
        "p-1", "guide/pumps.md", ("Pumps", "Valves"), text, 40, joined(quotes, "p-1")
    )
    words = Edited(sample.question, sample.answer)
    return SampleView(entry(), sample, words, decision, False, True, 7.0, (evidence,))


def texts(rows):
    return [plain(cells) for cells in rows]


spans = st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans, max_size=4), st.sampled_from([0, 30, 120, None]))
def test_windows_hold_every_quote_and_pieces_are_the_text(found, context):
    text = SENTENCES * 4
    quotes = joined((Quote("p", a, b, text[a:b]) for a, b in found), "p")
    shown = windows(text, quotes, context)
    assert list(shown) == sorted(shown)
    for first, last in quotes:
        assert any(start <= first and last <= end for start, end in shown)
    for start, end in shown:
        assert "".join(piece.text for piece in pieces(text, quotes, start, end)) == text[start:end]


def test_a_window_is_cut_at_the_ends_of_sentences():
    text = SENTENCES * 3
    start = text.index("Nobody", 80)
    ((first, last),) = windows(text, ((start, start + 6),), 40)
    assert text[first:last] == "The valve opens then. Nobody waits for it. All is well."


def test_the_whole_passage_keeps_its_lines_and_marks_a_quote_over_two_of_them():
    evidence = Evidence("p", "a.md", (), "def f():\n    return 1\nend", 0, ((4, 18),))
    assert texts(whole_rows(evidence, UNICODE, 40)) == ["def «f():", "    retur»n 1", "end"]


def test_what_the_first_sight_cuts_stands_on_the_pages_behind_it():
    one = view(answer="word " * 200)
    sheets = sample_pages(one, UNICODE, 80, 11)
    assert len(sheets) > 2
    assert all(len(sheet) <= 11 for sheet in sheets)
    assert any("«The valve opens then.»" in text for text in texts(sheets[0]))
    assert any("guide/pumps.md > Pumps > Valves" in text for text in texts(sheets[0]))
    behind = " ".join(" ".join(text.split()) for sheet in sheets[1:] for text in texts(sheet)[1:])
    assert behind.count("word") == 200
    assert " ".join(SENTENCES.split()) in behind


def test_a_sample_that_fits_has_one_page():
    short = view("The pump stops. The valve opens then. It is so.")
    assert len(sample_pages(short, UNICODE, 80, 11)) == 1


def test_points_lost_flags_and_reasons_are_said():
    flag = Flag("copied", "8 words in a row are the passage's", True)
    one = view(
        decision=Decision("reject", "generic"),
        levels={"answerable": 2, "natural": 0, "specific": 1},
        flags=(flag,),
    )
    text = "\n".join(texts(sample_pages(one, ASCII, 100, 30)[0]))
    assert "x reject: too generic" in text
    assert "lost on natural 0/2, specific 1/2" in text
    assert "blocked, copied: 8 words in a row are the passage's" in text
    assert "answerable" not in text


def test_style_language_and_ranks_are_said():
    one = view(style="terse", language="de", ranks={"bm25": 1, "base": 3})
    text = "\n".join(texts(sample_pages(one, ASCII, 100, 30)[0]))
    assert "terse, de, base rank 3, BM25 rank 1" in text


def test_markup_and_control_characters_of_a_model_are_only_text():
    one = view(
        "[bold]The valve\x1b[31m opens then.[/] \u202eevil", "opens then.", answer="[red]\x07"
    )
    text = "\n".join(texts(sample_pages(one, UNICODE, 80, 11)[0]))
    assert "[bold]The valve[31m «opens then.»[/] evil" in text
    assert "[red]" in text


def tally(scores, decisions):
    made = Tally()
    made.add([entry(f"q-{n}", score) for n, score in enumerate(scores)], decisions)
    return made


def test_the_head_counts_and_draws_in_eighty_columns():
    made = tally([1, 6.8, 6.8, 7.2, 9.9], {"q-1": Decision("accept")})
    (row,) = head_rows(made.counts(7.0), made.histogram(), UNICODE, 80, 1)
    assert "threshold  7.0" in plain(row)
    assert "keep 3 drop 2 by hand 1 (1 override)" in plain(row)
    bars = plain(row)[16:37]
    assert bars.index("│") == 14
    assert [n for n, bar in enumerate(bars) if bar not in " │"] == [2, 13, 15, 20]


def test_the_head_fits_where_there_is_little_room():
    made = tally([7.0] * 1000, {})
    for width in (60, 80, 96, 200):
        for height in (1, 6):
            rows = head_rows(made.counts(10.0), made.histogram(), ASCII, width, height)
            assert all(width_of(cells) <= width for cells in rows)
            assert "keep    0 drop 1000" in plain(rows[0])


def test_a_row_says_its_state_by_a_word_and_stays_in_its_columns():
    rows = [
        sample_row(entry(score=score), decision, skipped, kept, UNICODE, 80, False)
        for score, decision, skipped, kept in (
            (7.5, None, False, True),
            (10.0, None, True, True),
            (None, Decision("reject"), False, False),
            (6.96, Decision("accept", question="Edited?"), False, True),
            (6.96, Decision("accept", source="bulk"), False, True),
        )
    ]
    shown = texts(rows)
    assert [text.split()[1] for text in shown] == ["keep", "skip", "reject", "edited", "accept"]
    assert len({text.index("train") for text in shown}) == 1
    assert "Edited?" in shown[3]
    assert " 6.96 " in shown[4]


def test_the_line_that_says_when_it_is_enough_comes_first_on_a_narrow_screen():
    progress = ReviewProgress(45, 45, 29, 30, 28, "q-1")
    counts = tally([8.0], {}).counts(7.0)
    for width, begins in (
        (40, " read 45/45 test questions, 29/30 audit"),
        (60, " read 45/45 test questions, 29/30 audited: go on"),
        (120, " read 45 of 45 test questions and 29 of 30 audit samples: go on"),
    ):
        (cells,) = enough_rows(progress, counts, width)
        assert plain(cells).startswith(begins)
        assert width_of(cells) <= width
    assert "kept: train 1  dev 0  test 0" in plain(enough_rows(progress, counts, 80)[0])


def test_the_place_names_order_filter_and_what_is_still_to_come():
    wanted = parse_filter("role:test")
    text = plain(place_row(4, 45, 490, "queue", wanted, "more arrive", 80))
    assert text == "   5 of 45  order queue  filter role:test (45 of 490)  more arrive"
    assert "filter" not in plain(place_row(4, 490, 490, "score", EVERYTHING, "", 80))
