"""Languages are told by common words and script, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sdg.languages import NAMES, language_of

TEXTS = {
    "de": "Die Einstellung wird beim Start gelesen und ist danach für alle Dienste gültig.",
    "en": "The setting is read at the start and is valid for all of the services from then on.",
    "es": "El ajuste se lee al inicio y es válido para todos los servicios que no lo cambian.",
    "fr": "Le réglage est lu au démarrage et il est valable pour tous les services de la machine.",
    "it": "Il valore è letto alla partenza e non si può cambiare con un comando della macchina.",
    "ja": "設定は起動時に読み込まれ、すべてのサービスで有効になります。",
    "ko": "설정은 시작할 때 읽히며 모든 서비스에 적용됩니다.",
    "nl": "De instelling wordt bij de start gelezen en is dan geldig voor de diensten.",
    "pl": "Ustawienie jest czytane na starcie i nie zmienia się do końca pracy, bo są to dane.",
    "pt": "O valor é lido no início e não muda até que uma pessoa o altere com um comando da casa.",
    "ru": "Настройка читается при запуске и не меняется, если это не задано в файле для сервиса.",
    "zh": "该设置在启动时读取，并对所有服务有效。",
}


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_a_sentence_shows_its_language(code):
    assert language_of(TEXTS[code]) == code


def test_every_language_that_can_be_told_has_a_name_and_a_text_here():
    assert set(TEXTS) == set(NAMES)


@pytest.mark.parametrize("text", ["", "x = f(1)\ny = g(2)", "alpha beta gamma delta", "12 34 56"])
def test_what_is_no_prose_has_no_language(text):
    assert language_of(text) == ""


@given(st.text(max_size=200))
def test_any_text_has_a_known_language_or_none(text):
    assert language_of(text) in {"", *NAMES}
