from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.entries import Entry, Texts
from pipeline.corpus.spool import Spool


@given(st.lists(st.binary(max_size=50)))
def test_what_was_put_is_read_again_by_its_place(contents):
    with Spool() as spool:
        places = [spool.put(content) for content in contents]
        assert [spool.get(place) for place in places] == contents
        assert [spool.get(place, 1, 2) for place in places] == [one[1:3] for one in contents]


@given(st.text())
def test_a_spooled_entry_is_the_entry(text):
    entry = Entry("a.md", "markdown", text)
    with Spool() as spool:
        spooled = entry.spooled(spool)
        assert (spooled.text, spooled.id, spooled.characters) == (text, entry.id, len(text))
        assert spooled.held() == entry
        assert dict(Texts([spooled])) == {entry.id: text}


def test_a_spool_leaves_no_file(tmp_path):
    with Spool(tmp_path) as spool:
        spool.put(b"text")
        assert list(tmp_path.iterdir()) == []
