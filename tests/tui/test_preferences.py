"""Preferences: a bad value is said and passed over; writing keeps what isn't ours."""

import pytest

from pipeline.errors import BadRecipe
from tui.preferences import Preferences, read_preferences, resolve_keymap, write_preferences


@pytest.fixture
def path(tmp_path):
    return tmp_path / "embedsmith" / "preferences.toml"


def read(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return read_preferences(path)


def test_no_file_means_the_defaults(path):
    assert read_preferences(path) == (Preferences(), [])


def test_every_preference_is_read(path):
    found, failures = read(
        path,
        'theme = "forge-light"\nmouse = false\nascii = true\nnotifications = false\nbell = false\n'
        '[keys]\nreview.accept = "a, y"\n"review.reject" = ["x", ","]\n',
    )
    assert failures == []
    keys = {"review.accept": "a,y", "review.reject": "x,comma"}
    assert found == Preferences("forge-light", False, True, False, False, keys)


def test_bad_values_are_named_and_the_others_count(path):
    found, failures = read(
        path,
        'theme = 3\nmouse = "no"\nbell = false\nmuose = true\n'
        '[keys]\na.b = 3\na.c = ""\na.d = "ctrl + s"\na.e = []\na.f = ["q", 1]\na.g = "q"\n',
    )
    assert found == Preferences(bell=False, keys={"a.g": "q"})
    said = [f"{failure.happened} {failure.next_step}" for failure in failures]
    assert all(str(path) in text for text in said)
    for text, word in zip(
        said,
        ["theme is 3", "mouse is 'no'", "mean mouse?", "a.b", "a.c", "a.d", "a.e", "a.f"],
        strict=True,
    ):
        assert word in text


@pytest.mark.parametrize("content", [b"mouse = ", b"\xff\xfe", b"keys = 3"])
def test_an_unreadable_file_means_the_defaults_and_a_message(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    found, failures = read_preferences(path)
    assert found == Preferences()
    assert len(failures) == 1
    assert str(path) in failures[0].happened


def test_what_is_written_is_read_again(path):
    wanted = Preferences('a"b\\ü', False, True, False, True, {"review.accept": "y"})
    write_preferences(path, wanted)
    assert read_preferences(path) == (wanted, [])


def test_writing_keeps_comments_and_names_that_are_not_ours(path):
    path.parent.mkdir()
    path.write_text(
        "# mine\nfuture = 7\nmouse = true  # the wheel\n\n[keys]\n# hands off\n"
        'review.accept = "y"\n[later]\nmouse = "x"\n'
    )
    keys = {"review.accept": "y"}
    write_preferences(path, Preferences(theme="plain", mouse=False, keys=keys))
    assert path.read_text() == (
        'theme = "plain"\n# mine\nfuture = 7\nmouse = false  # the wheel\n\n[keys]\n# hands off\n'
        'review.accept = "y"\n[later]\nmouse = "x"\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        'theme = "a # b"\n',
        "theme = '''\n[keys]\n'''\nmouse = true\n",
        'list = [\n["mouse = true"]\n]\n',
    ],
)
def test_what_no_line_can_change_is_written_anew(path, text):
    path.parent.mkdir()
    path.write_text(text)
    write_preferences(path, Preferences(theme="plain", mouse=False))
    found, _ = read_preferences(path)
    assert (found.theme, found.mouse) == ("plain", False)
    assert ("list" in path.read_text()) == ("list" in text)


def test_nothing_new_writes_nothing(path):
    write_preferences(path, Preferences())
    assert not path.exists()


def test_a_file_that_cannot_be_read_is_not_replaced(path):
    path.parent.mkdir()
    path.write_text("mouse = ")
    with pytest.raises(BadRecipe):
        write_preferences(path, Preferences(theme="plain"))
    assert path.read_text() == "mouse = "


def test_a_link_to_elsewhere_stays_a_link(path, tmp_path):
    path.parent.mkdir()
    (tmp_path / "dotfiles.toml").write_text("bell = true\n")
    path.symlink_to(tmp_path / "dotfiles.toml")
    write_preferences(path, Preferences(bell=False))
    assert path.is_symlink()
    assert (tmp_path / "dotfiles.toml").read_text() == "bell = false\n"


DEFAULTS = {
    "review.accept": "a",
    "review.reject": "x",
    "review.skip": "s,space",
    "train.stop": "x",
    "dialog.no": "n,escape",
    "dialog.dismiss": "q,escape",
}


def test_keys_can_be_changed_and_swapped():
    wishes = {"review.accept": "x", "review.reject": "a", "train.stop": "a"}
    keymap, failures = resolve_keymap(DEFAULTS, wishes)
    assert failures == []
    assert keymap == DEFAULTS | wishes


def test_an_unknown_binding_names_the_nearest():
    keymap, failures = resolve_keymap(DEFAULTS, {"review.acept": "y"})
    assert keymap == DEFAULTS
    assert "review.acept" in failures[0].happened
    assert "review.accept" in failures[0].next_step


def test_a_key_that_is_taken_in_its_scope_is_refused():
    keymap, failures = resolve_keymap(DEFAULTS, {"review.accept": "y, space", "train.stop": "s"})
    assert keymap == DEFAULTS | {"train.stop": "s"}
    assert len(failures) == 1
    assert "keys.review.accept: space is review.skip already" in failures[0].happened


def test_a_wish_that_fails_takes_what_rested_on_it_along():
    wishes = {"review.reject": "a", "review.accept": "s"}
    keymap, failures = resolve_keymap(DEFAULTS, wishes)
    assert keymap == DEFAULTS
    assert len(failures) == 2


def test_of_two_wishes_for_one_key_the_first_counts():
    keymap, failures = resolve_keymap(DEFAULTS, {"review.accept": "y", "review.reject": "y"})
    assert keymap == DEFAULTS | {"review.accept": "y"}
    assert len(failures) == 1


def test_what_is_shared_by_default_may_stay_shared():
    keymap, failures = resolve_keymap(DEFAULTS, {"dialog.no": "z,escape"})
    assert (keymap["dialog.no"], failures) == ("z,escape", [])
