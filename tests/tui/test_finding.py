"""Which run a command means, and what a dry run leaves alone."""

import tomllib

import pytest
from commandline import Cli
from documents import write_documents


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


def runs(cli):
    return sorted(path.name for path in (cli.home / "runs").glob("*"))


def test_two_folders_of_one_name_are_two_runs_and_each_is_found_again(cli, tmp_path):
    for owner in ("a", "b", "b", "a", "b"):
        folder = tmp_path / owner / "docs"
        if not folder.exists():
            write_documents(folder)
        cli("rehearse", folder, "--to", "corpus")
    assert runs(cli) == ["rehearsal-docs", "rehearsal-docs-2"]


def test_a_dry_run_makes_and_changes_nothing(cli, tmp_path):
    folder = write_documents(tmp_path / "a" / "docs")
    assert "would run" in cli("rehearse", folder, "--dry-run").out
    assert runs(cli) == []
    cli("rehearse", folder, "--to", "corpus")
    recipe = cli.run_folder("rehearsal-docs") / "recipe.toml"
    before = recipe.read_text()
    setting = ("--set", "corpus.passage_tokens=90")
    plan = cli("run", "rehearsal-docs", *setting, "--dry-run", "--json").lines
    assert plan[0]["reason"] == "corpus.passage_tokens changed from 160 to 90"
    cli("run", "rehearsal-docs", "--variant", "other", *setting, "--dry-run")
    assert recipe.read_text() == before
    assert not (recipe.parent / "variants").exists()


def test_a_damaged_run_stops_no_other(cli, tmp_path):
    cli("rehearse", write_documents(tmp_path / "a" / "docs"), "--to", "corpus")
    (cli.run_folder("rehearsal-docs") / "recipe.toml").write_text("[[[")
    cli("rehearse", write_documents(tmp_path / "b" / "others"), "--to", "corpus")
    out = cli("runs").out
    assert "rehearsal-others" in out
    assert "rehearsal-docs" in out


@pytest.mark.parametrize("name", ["a/b", "../x", "-x", "local", ""])
def test_a_variant_is_a_name_and_no_path(cli, tmp_path, name):
    cli("rehearse", write_documents(tmp_path / "a" / "docs"), "--to", "corpus")
    code = 0 if not name else 5
    cli("run", "rehearsal-docs", f"--variant={name}", "--to", "corpus", code=code)
    assert not list(cli.home.rglob("x.toml"))


def test_a_new_rehearsal_can_not_be_made_on_a_gated_profile(cli, tmp_path):
    folder = write_documents(tmp_path / "a" / "docs")
    profile = "profile=nvidia/llama-nemotron-embed-1b-v2"
    cli("rehearse", folder, "--set", profile, code=5)
    assert runs(cli) == []


def test_runs_never_lie_inside_their_documents(cli, tmp_path):
    folder = write_documents(tmp_path / "a" / "docs")
    err = cli("rehearse", folder, "--home", folder / "runs", code=4).err
    assert "inside the documents" in err


def test_a_home_that_can_not_be_written_is_said(cli, tmp_path):
    folder = write_documents(tmp_path / "a" / "docs")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    err = cli("rehearse", folder, "--home", blocked, code=1).err
    assert "What is safe" in err


def test_a_path_in_a_setting_begins_where_the_command_was_given(cli, tmp_path, monkeypatch):
    cli("rehearse", write_documents(tmp_path / "a" / "docs"), "--to", "corpus")
    here = tmp_path / "here"
    (here / "python").mkdir(parents=True)
    (here / "sts.csv").write_text("text1,text2,score\na,b,1\n")
    monkeypatch.chdir(here)
    settings = ("finetune.tasks.sts=sts.csv", 'finetune.tasks.retrieval=["gone.csv"]')
    names = ("finetune.probe=python", "prep.teacher=sentence-transformers/all-MiniLM-L6-v2")
    given = [word for one in (*settings, *names) for word in ("--set", one)]
    cli("run", "rehearsal-docs", *given, "--to", "corpus")
    recipe = tomllib.loads((cli.run_folder("rehearsal-docs") / "recipe.toml").read_text())
    assert recipe["finetune"]["tasks"]["sts"] == [str(here / "sts.csv")]
    assert recipe["finetune"]["tasks"]["retrieval"] == ["gone.csv"]
    assert recipe["finetune"]["probe"] == "python"
    assert recipe["prep"]["teacher"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_what_comes_first_is_advised_for_the_variant_that_lacks_it(cli, tmp_path):
    cli("rehearse", write_documents(tmp_path / "a" / "docs"), "--to", "corpus")
    wanted = ("prep", "rehearsal-docs", "--variant", "other")
    err = cli(*wanted, "--set", "corpus.passage_tokens=90", code=4).err
    assert "embedsmith run rehearsal-docs --variant other`" in err
