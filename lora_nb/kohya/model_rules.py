"""Kohya's keys about the model, the adapter and the sample pictures."""

import json
import shlex
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from lora_nb.kohya.rules import (
    OFF,
    Left,
    Rule,
    Taken,
    choice,
    flag,
    not_needed,
    not_supported,
    number,
    text,
    when,
    whole,
)
from lora_nb.kohya.trained import find_family, find_kind, for_flux, trains_text_encoder
from lora_nb.kohya.values import Values, is_on, read_arguments, read_number, read_whole

FLUX_BLOCKS = 57  # 19 double and 38 single ones
PLACEHOLDER = not_needed("It is only a placeholder.")
SAMPLERS = {
    "euler": "euler",
    "k_euler": "euler",
    "euler_a": "euler_a",
    "k_euler_a": "euler_a",
    "ddim": "ddim",
    "dpmsolver++": "dpmpp_2m",
    "dpmsolver": "dpmpp_2m",
}
PROMPT_FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {  # of a sample prompt: "mochi, hat --w 512 --s 20"
    "n": ("samples.negative_prompt", str),
    "w": ("samples.width", read_whole),
    "h": ("samples.height", read_whole),
    "d": ("samples.seed", read_whole),
    "s": ("samples.steps", read_whole),
    "l": ("samples.guidance_scale", read_number),
}


def _adapter(value: Any, values: Values) -> Taken | Left:
    kind = find_kind(values)
    if not kind:
        return not_supported(f"There is no adapter {value!r} here; a LoRA is trained instead.")
    return Taken({"adapter.kind": kind})


def _is_placeholder(value: Any) -> bool:
    return "put the full path" in str(value).lower()  # what Kohya_SS's example files say


def _base(value: Any, values: Values) -> Taken | Left:
    if _is_placeholder(value):
        return PLACEHOLDER
    return Taken({"model.base": str(value)})


def _model_name(value: Any, values: Values) -> Taken | Left:
    return not_supported("A LoRA file only knows its base model's name: set model.base to where you have it.")


def _vae_name(value: Any, values: Values) -> Taken | Left:
    return not_supported("A LoRA file only knows its VAE's name: set model.vae to where you have it.")


def _other_part(value: Any, values: Values) -> Taken | Left:
    """Flux's text encoders and VAE: three files there, one folder here."""
    if _is_placeholder(value):
        return PLACEHOLDER
    places = [PurePath(values.text(key).replace("\\", "/")).parent for key in ("clip_l", "t5xxl", "ae")]
    if len(set(places)) > 1:
        return not_supported("Put clip_l, t5xxl and ae into one folder, and name it in model.other_parts.")
    return Taken({"model.other_parts": str(places[0])}, "T5's tokenizer.json must be in that folder, too.")


def _version(value: Any, values: Values) -> Taken | Left:
    return Taken({"model.family": find_family(values)})


def _v_prediction(value: Any, values: Values) -> Taken | Left:
    if is_on(value):
        return Taken({"model.prediction": "v"})
    return not_needed("Off; besides, what a model predicts is read from the model here.")


def _zero_snr(value: Any, values: Values) -> Taken | Left:
    if is_on(value):
        return Taken({"model.zero_terminal_snr": "on"}, "The loss weights follow it here; in Kohya they do not.")
    return Taken({"model.zero_terminal_snr": "off"})


def _conv(setting: str, rule: Rule) -> Rule:
    has_one = lambda values: find_kind(values) not in ("lora", "") and find_family(values) != "flux"  # noqa: E731
    return when(has_one, "This adapter leaves convolutions alone.", rule)


def _factor(value: Any, values: Values) -> Taken | Left:
    if find_kind(values) != "lokr":
        return not_needed("Only LoKr has it.")
    return Taken({"adapter.lokr_factor": max(0, read_whole(value))})


def _preset(value: Any, values: Values) -> Taken | Left:
    layers = {"full": "all", "attn-only": "attention", "attn-mlp": "attention_mlp"}.get(str(value).lower())
    if "lycoris" not in values.text("LoRA_type").lower() + values.text("network_module").lower():
        return not_needed("Only LyCORIS adapters look at it.")
    return Taken({"adapter.layers": layers}) if layers else not_supported("Choose adapter.layers yourself.")


def _network_arguments(value: Any, values: Values) -> Taken | Left:
    return not_needed(f"Its parts stand in this list themselves: {', '.join(read_arguments(value))}.")


def _only_unet(value: Any, values: Values) -> Taken | Left:
    return Taken({"adapter.train_text_encoder": False}) if is_on(value) else OFF


def _only_text(value: Any, values: Values) -> Taken | Left:
    return Taken({"adapter.train_denoiser": False}) if is_on(value) else OFF


def _cached_text(value: Any, values: Values) -> Taken | Left:
    if not trains_text_encoder(values):
        return Taken({"adapter.train_text_encoder": False}, "What is not trained is encoded once, without a setting.")
    return not_needed("What is not trained is encoded once, without a setting.")


def _swap(value: Any, values: Values) -> Taken | Left:
    """Kohya counts a Flux double block as one, and two of its single blocks as one."""
    count = int(read_number(value))
    if not count:
        return OFF
    waiting = count // 2 + 2 * (count - count // 2)
    share = round(min(1.0, waiting / FLUX_BLOCKS), 2)
    return Taken({"run.offload": share}, f"{waiting} of Flux's {FLUX_BLOCKS} blocks; here they are spread evenly.")


def _compile(value: Any, values: Values) -> Taken | Left:
    return Taken({"run.compile": True}) if is_on(value) else OFF


def _prompts(value: Any, values: Values) -> Taken | Left:
    """A prompt a line, with its settings behind it; here the first one's hold for all."""
    settings: dict[str, Any] = {}
    prompts = []
    for line in str(value).splitlines():
        prompt, *options = line.strip().split(" --")
        if not prompt or prompt.startswith("#"):
            continue
        prompts.append(prompt)
        for option in options:
            name, _, content = option.strip().partition(" ")
            if name in PROMPT_FLAGS and content:
                setting, read = PROMPT_FLAGS[name]
                settings.setdefault(setting, read(content.strip()))
    if not prompts:
        return not_needed("There is no prompt in it.")
    why = "The first prompt's options hold for all." if settings and len(prompts) > 1 else ""
    return Taken({"samples.prompts": prompts} | settings, why)


def expand(found: dict[str, Any]) -> dict[str, Any]:
    """Bring what hides in one text into the open: network_args, and the form's additional parameters."""
    result = dict(found)
    for key in ("network_args", "ss_network_args"):
        try:
            arguments = read_arguments(found.get(key) or {})
        except ValueError:
            arguments = _json_arguments(found[key])
        result |= {name: value for name, value in arguments.items() if name not in result}
    words = _split_words(str(found.get("additional_parameters") or ""))
    while words:
        name = words.pop(0).lstrip("-")
        values = []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        result[name] = " ".join(values) if values else True
    return result


def _split_words(text: str) -> list[str]:
    """The words of a command line; a quotation mark that is never closed is one like any other letter."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _json_arguments(content: Any) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (TypeError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


MODEL_RULES: dict[str, Rule] = {
    "base_model_version": _version,
    "sdxl": _version,
    "v2": _version,
    "flux1_checkbox": _version,
    "pretrained_model_name_or_path": _base,
    "sd_model_name": _model_name,
    "vae": text("model.vae"),
    "vae_name": _vae_name,
    **dict.fromkeys(("clip_l", "t5xxl", "ae"), for_flux(_other_part)),
    "clip_skip": whole("model.clip_skip"),
    "v_parameterization": _v_prediction,
    "zero_terminal_snr": _zero_snr,
    "guidance_scale": for_flux(number("model.guidance")),
    "apply_t5_attn_mask": for_flux(flag("model.t5_attention_mask")),
    "t5xxl_max_token_length": for_flux(whole("model.t5_tokens")),
    "LoRA_type": _adapter,
    "network_module": _adapter,
    "algo": _adapter,
    "dora_wd": lambda value, values: _adapter(value, values) if is_on(value) else OFF,
    "network_dim": whole("adapter.rank"),
    "network_alpha": number("adapter.alpha"),
    "network_args": _network_arguments,
    "conv_dim": _conv("adapter.conv_rank", whole("adapter.conv_rank")),
    "conv_alpha": _conv("adapter.conv_alpha", number("adapter.conv_alpha")),
    "factor": _factor,
    "LyCORIS_preset": _preset,
    "preset": _preset,
    "rs_lora": flag("adapter.rank_stabilized"),
    "network_dropout": number("adapter.dropout"),
    "dropout": number("adapter.dropout"),
    "rank_dropout": number("adapter.rank_dropout"),
    "module_dropout": number("adapter.module_dropout"),
    "scale_weight_norms": number("adapter.scale_weight_norms"),
    "train_blocks": for_flux(text("adapter.flux_blocks")),
    "lora_network_weights": text("adapter.continue_from"),
    "network_train_unet_only": _only_unet,
    "network_train_text_encoder_only": _only_text,
    "sdxl_cache_text_encoder_outputs": when(
        lambda values: values.flag("sdxl"), "These settings are not for SDXL.", _cached_text
    ),
    "cache_text_encoder_outputs": _cached_text,
    "blocks_to_swap": for_flux(_swap),
    "torch_compile": _compile,
    "sample_prompts": _prompts,
    "sample_sampler": choice("samples.sampler", SAMPLERS),
    "sample_every_n_epochs": whole("samples.every_n_epochs"),
}
