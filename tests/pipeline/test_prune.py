"""What can be made again: earlier results and trials, and nothing that the recipe means now."""

import pytest
from documents import write_documents

from pipeline.attempt import execute
from pipeline.job import plan_job
from pipeline.locks import Lock
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.prune import prunable, remove
from pipeline.run import cache_home, change_recipe, create_run
from pipeline.sdg.trial import list_trials


@pytest.fixture
def run(tmp_path):
    source = write_documents(tmp_path / "documents")
    profile = find_profile(REHEARSAL_PROFILE)
    return create_run(tmp_path / "run", profile, {"corpus.source": str(source)}, "test")


def make(run, name, **options):
    job = plan_job(run, "", name, options, cache_home())
    assert execute(job, cache_home()) == 0
    return job.folder


@pytest.fixture
def tried(run):
    """A run with two trials, the older one by other settings."""
    make(run, "corpus")
    change_recipe(run, {"sdg.audience": "engineers"}, "test")
    earlier = make(run, "trial")
    change_recipe(run, {"sdg.audience": ""}, "test")
    return run, earlier, make(run, "trial")


def test_an_earlier_trial_can_go_and_the_current_one_stays(tried):
    run, earlier, now = tried
    entries = prunable(run)
    assert [(entry.folder, entry.reason) for entry in entries] == [(earlier, "an earlier result")]
    assert entries[0].size > 0
    remove(entries[0])
    assert [trial.folder for trial in list_trials(run)] == [now]
    assert prunable(run) == []


def test_a_trial_that_never_ended_can_go_unless_it_would_go_on_or_is_at_work(tried):
    run, earlier, now = tried
    for folder in (earlier, now):
        (folder / "done.json").unlink()
    assert [entry.folder for entry in prunable(run)] == [earlier]
    with Lock(earlier / "lock", "a test"):
        assert prunable(run) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("done.json", "{"),
        ("done.json", '{"format": 99}'),
        ("done.json", '{"format": 1}'),
        ("funnel.json", "[]"),
        ("funnel.json", None),
    ],
)
def test_a_trial_that_cannot_be_read_hides_no_other(tried, name, content):
    run, earlier, now = tried
    if content is None:
        (earlier / name).unlink()
    else:
        (earlier / name).write_text(content)
    assert [trial.folder for trial in list_trials(run)] == [now]
