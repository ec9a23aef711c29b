"""Tokens are found and judged, and never shown."""

import sys
from types import ModuleType

import pytest

from lora_nb.checkup.tokens import look_at_civitai_token, look_at_hub_token, look_at_tokens
from lora_nb.tokens import Token, find_civitai_token, find_hub_token, tokens_for_children

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "CIVITAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def test_without_tokens_the_way_to_them_is_noted():
    hub, civitai = look_at_tokens()
    assert hub.severity == civitai.severity == "note"
    assert "huggingface.co/settings/tokens" in hub.fix and "CIVITAI_TOKEN" in civitai.fix


def test_a_token_is_found_in_the_environment_before_the_hubs_file(monkeypatch, tmp_path):
    (tmp_path / "token").write_text(f"{SECRET}\n")
    assert find_hub_token() == Token(SECRET, "saved by `hf auth login`")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert find_hub_token().text == "hf_other"


def test_a_secret_of_colab_is_found(monkeypatch):
    colab = ModuleType("google.colab")
    secrets = {"CIVITAI_TOKEN": "0123456789abcdef"}
    colab.userdata = type("Userdata", (), {"get": staticmethod(secrets.__getitem__)})  # raises for others, as Colab's
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert find_civitai_token().text == "0123456789abcdef" and find_hub_token() is None
    assert tokens_for_children() == {"CIVITAI_TOKEN": "0123456789abcdef"}, "a training process gets it, too"


def test_what_every_process_finds_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert tokens_for_children() == {}


def test_a_good_token_is_told_by_its_source_alone():
    found = look_at_hub_token(Token(SECRET, "in the environment variable HF_TOKEN"))
    assert found.severity == "ok" and "environment variable HF_TOKEN" in found.message
    assert SECRET not in str(found) and SECRET not in repr(Token(SECRET, "here"))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (f'"{SECRET}"', "quotes"),
        (f"{SECRET} ", "spaces or line breaks"),
        ("0123456789abcdef", "does not begin with hf_"),
        (f"{SECRET}\u200b", "characters that no key has"),
    ],
)
def test_a_token_that_was_copied_badly_is_warned_of_without_showing_it(text, mistake):
    found = look_at_hub_token(Token(text, "in HF_TOKEN"))
    assert found.severity == "warning" and mistake in found.message
    assert SECRET not in str(found) and "0123456789" not in str(found)


def test_keys_of_civitai_have_another_form():
    assert look_at_civitai_token(Token("0123456789abcdef", "in CIVITAI_TOKEN")).severity == "ok"
    assert look_at_civitai_token(Token("0123 456", "in CIVITAI_TOKEN")).severity == "warning"
