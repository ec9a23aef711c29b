"""Are the keys there that some models ask for, and do they look like keys? They are never shown."""

import re

from lora_nb.checkup.findings import Finding
from lora_nb.tokens import Token, find_civitai_token, find_hub_token

HUB_FORM = r"(hf|api)_\S+"  # api_ is how old ones begin


def look_at_tokens() -> list[Finding]:
    """The keys to the two places that models come from."""
    return [look_at_hub_token(find_hub_token()), look_at_civitai_token(find_civitai_token())]


def look_at_hub_token(token: Token | None) -> Finding:
    """Gated and private models on the Hugging Face hub ask for one."""
    where = "Hugging Face token"
    page = "huggingface.co/settings/tokens"
    if token is None:
        fix = f"Only gated and private models need one: make it on {page}, and put it into HF_TOKEN."
        return Finding(where, "There is none.", fix, "note")
    mistake = _find_mistake(token.text)
    if not mistake and not re.fullmatch(HUB_FORM, token.text):
        mistake = "does not begin with hf_"
    return _judge(where, token, mistake, page)


def look_at_civitai_token(token: Token | None) -> Finding:
    """Some models on Civitai ask for one."""
    where = "Civitai token"
    page = "your account's page at civitai.com"
    if token is None:
        fix = f"Only models that ask for a login need one: make an API key on {page}, and put it into CIVITAI_TOKEN."
        return Finding(where, "There is none.", fix, "note")
    return _judge(where, token, _find_mistake(token.text), page)


def _judge(where: str, token: Token, mistake: str, page: str) -> Finding:
    if not mistake:
        return Finding(where, f"There is one, {token.source}.")
    return Finding(where, f"The one {token.source} {mistake}.", f"Copy it again from {page}.", "warning")


def _find_mistake(text: str) -> str:
    """What a copied token must not have; empty if it is well."""
    if re.search(r"\s", text):
        return "has spaces or line breaks in it"
    if re.search(r"[\"'`]", text):
        return "has quotes in it"
    return "has characters that no key has" if not (text.isascii() and text.isprintable()) else ""
