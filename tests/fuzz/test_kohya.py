"""Settings files of other programs, and what only looks like one: every key accounted for, or refused by name."""

import json

import pytest

from lora_nb.config_file import make_config
from lora_nb.kohya.importing import RULES, import_kohya, import_values
from lora_nb.kohya.values import ALIASES
from tests.fuzz.contract import attempt, run_cases
from tests.fuzz.spoiling import damage, no_file, odd_json, odd_text, odd_value
from tests.fuzz.weights import FOREIGN, lie, make_file

KEYS = sorted({*RULES, *ALIASES, *(f"ss_{key}" for key in ALIASES), "network_args", "optimizer_args"})
KEYS += ["additional_parameters", "ss_tag_frequency", "ss_bucket_info", "modelspec.title", "max_data_loader_n_workers"]
WORDS = (
    "True",
    "0",
    "1e-4",
    "1e999",
    "512,512",
    "networks.lora",
    "AdamW8bit",
    "adamw(weight_decay=0.1)",
    "a=b c",
    "'",
    '"',
)
WORDS += (
    "[1,2",
    "(" * 3000,
    "betas=0.9,0.99",
    '{"conv_dim": "4"}',
    "--x 'y",
    "0,1,1",
    "sdxl_base",
    "lokr",
    "cosine",
    "0..5",
)
USUAL = {"LoRA_type": "Standard", "network_dim": 8, "learning_rate": 1e-4, "optimizer": "AdamW8bit", "epoch": 5}


def odd_settings(chance):
    values = dict(USUAL) if chance.random() < 0.6 else {}
    for _ in range(chance.randrange(1, 12)):
        key = chance.choice(KEYS) if chance.random() < 0.9 else odd_text(chance)
        values[key] = chance.choice(
            [lambda: chance.choice(WORDS), lambda: odd_value(chance), lambda: odd_text(chance)]
        )()
    return values


def test_odd_values_are_accounted_for(tmp_path):
    def case(chance, folder):
        values = odd_settings(chance)
        outcome = attempt(lambda: import_values(values))
        if outcome.result:
            assert {finding.key for finding in outcome.result.findings} >= values.keys()
            assert make_config(outcome.result.config.model_dump()) == outcome.result.config
            outcome.result.describe().encode("utf-8", "backslashreplace")
        return outcome.word

    run_cases("kohya values", 400, case, tmp_path)


def test_odd_files_are_read_or_refused(tmp_path):
    def case(chance, folder):
        path = folder / f"odd{chance.choice(['.json', '.toml', '.safetensors', '.txt', '', '.JSON'])}"
        path.write_bytes(odd_file(chance, path.suffix.lower()))
        return attempt(lambda: import_kohya(path), names=path.name, untouched=folder).word

    run_cases("kohya files", 250, case, tmp_path)


def test_what_is_no_file_is_refused(tmp_path):
    def case(chance, folder):
        path = folder / f"odd{chance.choice(['.json', '.toml', '.safetensors'])}"
        no_file(chance, path)
        outcome = attempt(lambda: import_kohya(path), names=path.name, untouched=folder)
        assert outcome.error
        return outcome.word

    run_cases("no kohya files", 20, case, tmp_path)


@pytest.mark.parametrize(
    "values",
    [{"additional_parameters": "--x 'y"}, {"optimizer": "adamw(nonsense"}, {"network_args": "(" * 5000 + "=1"}],
)
def test_a_mark_that_is_never_closed_stops_no_import(values):
    assert import_values(USUAL | values).config.adapter.rank == 8


def odd_file(chance, suffix):
    if suffix == ".json":
        values = odd_settings(chance)
        return odd_json(chance, json.dumps(values).encode()) if chance.random() < 0.5 else json.dumps(values).encode()
    if suffix == ".toml":
        lines = [f"[{chance.choice(['general', 'a.b', 'x'])}]"]
        lines += [
            f"{key} = {chance.choice(['1', 'true', chr(34), '1e400', '[[', '1979-05-27', 'inf', 'nan'])}"
            for key in KEYS[:9]
        ]
        text = "\n".join(lines[: chance.randrange(1, 9)]).encode()
        return chance.choice(
            [text, damage(chance, text), b"a = " + b"[" * 20_000, b"[[a]]\nb=1\n[[a]]\nb=2", b"a.b.c=1"]
        )
    if suffix == ".safetensors":
        metadata = {
            str(key): str(value).encode("utf-8", "replace").decode() for key, value in odd_settings(chance).items()
        }
        content = make_file(chance, {"lora_unet_x.alpha": ("F32", [])}, metadata)
        return chance.choice([lambda: content, lambda: lie(chance, content), lambda: chance.choice(FOREIGN)])()
    return chance.randbytes(50)
