from __future__ import annotations

import pytest

from pipeline.corpus.decoding import decode
from pipeline.corpus.reading import Skipped
from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, apply
from pipeline.setting_rules import holds_ascii


def test_a_windows_file_is_read_and_flagged():
    text = "Preis: 5 € für „Größe“, déjà"
    assert decode(text.encode("cp1252"), "cp1252") == (text, "read as Windows-1252: not UTF-8")


@pytest.mark.parametrize(
    ("text", "encoding"), [("日本語", "shift_jis"), ("документ", "koi8-r"), ("文档", "gb18030")]
)
def test_the_setting_reads_what_is_not_utf8(text, encoding):
    assert decode(text.encode(encoding), encoding) == (text, f"read as {encoding}: not UTF-8")


def test_utf8_goes_before_the_setting_and_before_what_a_file_declares():
    assert decode("déjà".encode(), "latin-1", declared="iso-8859-15") == ("déjà", "")


def test_what_a_file_declares_goes_before_the_setting():
    assert decode("документ".encode("cp1251"), "cp1252", declared="windows-1251") == (
        "документ",
        "",
    )


def test_a_declaration_that_is_wrong_or_no_encoding_is_passed_over():
    content = "déjà".encode("cp1252")
    for declared in ("shift_jis_2004x", "zlib", "utf-8", "unicode_escape"):
        assert decode(content, "cp1252", declared) == ("déjà", "read as Windows-1252: not UTF-8")


def test_a_seven_bit_encoding_is_valid_utf8_and_still_read_as_declared():
    assert decode("日本語".encode("iso2022_jp"), "cp1252", "iso-2022-jp") == ("日本語", "")


def test_what_is_in_no_encoding_says_so():
    skipped = decode(b"\xff\xff\xff abc", "shift_jis")
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "its encoding is neither UTF-8 nor shift_jis (corpus.encoding)"


def test_replacement_characters_are_damage():
    assert isinstance(decode("a\ufffd".encode() * 3, "cp1252"), Skipped)
    assert decode(("a" * 200 + "\ufffd").encode(), "cp1252")[1] == ""


@pytest.mark.parametrize(
    "name", ["", "no-such", "utf-16", "utf-7", "zlib", "rot13", "unicode_escape", "../x", "a\0b"]
)
def test_an_encoding_that_is_none_is_refused_with_the_settings_name(name):
    assert not holds_ascii(name)
    with pytest.raises(BadRecipe, match=r"corpus\.encoding"):
        apply(Recipe(), {"corpus.encoding": name}, "recipe.toml")
