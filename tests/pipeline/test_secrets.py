"""Secrets stay out of what is written down."""

from pipeline.secrets import redact


def test_the_value_of_a_secret_is_replaced_by_its_name():
    environment = {"NVIDIA_API_KEY": "nvapi-12345", "HOME": "/somewhere"}
    text = "401 for nvapi-12345 in /somewhere"
    assert redact(text, environment) == "401 for <NVIDIA_API_KEY> in /somewhere"


def test_a_key_counts_without_the_newline_of_its_file():
    assert redact("b'nvapi-12345\\n'", {"API_KEY": "nvapi-12345\n"}) == "b'<API_KEY>\\n'"


def test_a_named_variable_is_a_secret_whatever_it_is_called():
    assert redact("x llm-12345", {"LLM_AUTH": "llm-12345"}, ["LLM_AUTH"]) == "x <LLM_AUTH>"


def test_short_values_are_ordinary_words():
    assert redact("a test", {"MY_TOKEN": "test"}) == "a test"
