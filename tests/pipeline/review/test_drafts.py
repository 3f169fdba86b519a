"""Words that were typed and not saved, in the run folder."""

import pytest

from pipeline.review.drafts import drop_draft, list_drafts, read_draft, write_draft
from pipeline.review.edit_text import Edited
from pipeline.run import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


@pytest.mark.parametrize("sample", ["q-0123456789abcdef", "../../etc/passwd", "a\x00b/\u202e", ""])
def test_a_draft_is_found_again_whatever_its_sample_is_called(run, sample):
    words = Edited("What is it?", "Two\nlines.")
    write_draft(run, sample, words)
    assert read_draft(run, sample) == words
    assert list_drafts(run) == (sample,)
    assert all(path.parent.name == "drafts" for path in run.path.rglob("*.json"))
    drop_draft(run, sample)
    assert (read_draft(run, sample), list_drafts(run)) == (None, ())
    drop_draft(run, sample)


def test_half_a_character_is_written_as_something_that_a_file_can_hold(run):
    write_draft(run, "q-1", Edited("What\udc80?", ""))
    assert read_draft(run, "q-1").question == "What??"


def test_a_damaged_draft_is_none_and_the_others_stay(run):
    write_draft(run, "q-1", Edited("one", ""))
    write_draft(run, "q-2", Edited("two", ""))
    (path,) = [p for p in run.path.rglob("*.json") if "one" in p.read_text()]
    path.write_text('{"question": ')
    assert read_draft(run, "q-1") is None
    assert list_drafts(run) == ("q-2",)
    assert read_draft(run, "q-2") == Edited("two", "")
