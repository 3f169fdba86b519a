"""Following a growing file."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.tail import LineTail

_LINES = st.lists(st.sampled_from([b"", b"a", b"\xff\r", b"x" * 50]), max_size=12)
_STEPS = st.lists(st.tuples(st.integers(1, 80), st.integers(1, 40) | st.none()), max_size=12)


@given(_LINES, _STEPS)
def test_every_line_comes_once_with_its_place_however_the_file_grows(
    tmp_path_factory, lines, steps
):
    path = tmp_path_factory.mktemp("tail") / "lines"
    content = b"".join(line + b"\n" for line in lines)
    tail, got, written = LineTail(path), [], 0
    for size, max_bytes in [*steps, (len(content), None)]:
        with path.open("ab") as stream:
            stream.write(content[written : written + size])
        written += size
        found = tail.read(max_bytes)
        assert (found.number, found.restarted) == (len(got) + 1, False)
        assert found.start == sum(len(line) + 1 for line in got)
        got.extend(found.lines)
    assert got == lines
    assert tail.remaining == 0


def test_a_file_that_begins_anew_under_the_reader_is_noticed(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"a\nb\n")
    tail = LineTail(path)
    tail.read()
    path.write_bytes(b"c\nd\ne\n")
    found = tail.read()
    assert (found.lines, found.start, found.number, found.restarted) == (
        (b"c", b"d", b"e"),
        0,
        1,
        True,
    )


def test_a_line_longer_than_the_chunk_is_read_whole(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 995 + b"\n" + b"y" * 9 + b"\n")
    tail = LineTail(path)
    assert tail.read(10).lines == (b"x" * 995,)
    assert tail.remaining == 10
    assert tail.read(10).lines == (b"y" * 9,)
    assert tail.remaining == 0
