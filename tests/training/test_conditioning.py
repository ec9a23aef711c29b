"""Encoded captions: kept while nothing changed, made again when anything did, and the same as freshly encoded."""

import json
import shutil

import pytest
import torch
from transformers import CLIPTokenizer

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings
from lora_nb.models.base import load_model
from lora_nb.training import conditioning
from lora_nb.training.conditioning import CaptionEncoder, fingerprint_tokenizer
from lora_nb.training.runs import train_project

TEXTS = ["mochi, forest", "mochi", ""]


@pytest.fixture
def config(config):
    return change_settings(config, {"adapter.train_text_encoder": False})


@pytest.fixture
def prepare(config, tmp_path, monkeypatch):
    """Prepare the texts with changed settings; tell whether all are kept and how many were encoded."""
    model = load_model(config.model)
    calls = []
    encode = model.encode_captions
    monkeypatch.setattr(model, "encode_captions", lambda texts, *more: calls.extend(texts) or encode(texts, *more))

    def run(texts=TEXTS, **changes):
        calls.clear()
        encoder = CaptionEncoder(model, change_settings(config, changes), tmp_path / "captions")
        done = encoder.prepare(texts)
        prepared = len(calls)
        run.encoder = encoder
        return done, prepared

    run.model, run.folder, run.calls = model, tmp_path / "captions", calls
    return run


def test_a_second_run_encodes_nothing_and_hears_the_same(prepare):
    assert prepare() == (True, 3)
    fresh = prepare.model.encode_captions(TEXTS[:1], 1, 75, False)
    assert prepare() == (True, 0)
    kept = prepare.encoder(TEXTS)
    assert prepare.calls == [] and kept["encoder_hidden_states"].shape[0] == 3
    assert kept["encoder_hidden_states"][:1].equal(fresh["encoder_hidden_states"])


@pytest.mark.parametrize(
    "changes", [{"model.clip_skip": 2}, {"data.max_tokens": 150}, {"data.weighted_captions": True}]
)
def test_another_way_of_reading_is_encoded_again(prepare, changes):
    prepare()
    assert prepare(**changes) == (True, 3) and prepare() == (True, 0)


def test_an_edited_caption_and_another_encoder_are_encoded_again(prepare):
    prepare()
    assert prepare(["mochi, forest, new", *TEXTS]) == (True, 1)
    with torch.no_grad():
        next(prepare.model.text_encoders["lora_te"].parameters()).add_(0.01)
    assert prepare() == (True, 3)


def test_another_tokenizer_is_encoded_again(prepare, tiny_sd1_folder, tmp_path):
    prepare()
    folder = shutil.copytree(tiny_sd1_folder / "tokenizer", tmp_path / "tokenizer")
    words = json.loads((folder / "vocab.json").read_text())
    words["o</w>"], words["i</w>"] = words["i</w>"], words["o</w>"]
    (folder / "vocab.json").write_text(json.dumps(words))
    own = dict(prepare.model.tokenizers)
    prepare.model.tokenizers["lora_te"] = CLIPTokenizer.from_pretrained(folder)
    assert prepare() == (True, 3)
    prepare.model.tokenizers["lora_te"] = CLIPTokenizer.from_pretrained(folder, pad_token="!")
    assert prepare() == (True, 3), "what fills short captions is heard, too"
    prepare.model.tokenizers.update(own)
    assert prepare() == (True, 0)


def test_what_a_tokenizer_has_read_before_does_not_matter(tiny_flux):
    tokenizer = tiny_flux.tokenizers["t5"]
    before = fingerprint_tokenizer(tokenizer)
    tokenizer(["mochi"], padding="max_length", max_length=12, truncation=True)
    assert fingerprint_tokenizer(tokenizer) == before


def test_a_damaged_entry_is_made_again(prepare):
    prepare()
    entry = sorted(prepare.folder.iterdir())[0]
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    assert prepare() == (True, 1) and prepare() == (True, 0)


def test_what_takes_too_much_space_is_only_kept_if_asked_for(prepare, monkeypatch):
    monkeypatch.setattr(conditioning, "LARGEST_CACHE", 1000)
    assert prepare()[0] is False
    assert prepare(**{"data.cache_text": "always"})[0] is True
    assert prepare(**{"data.cache_text": "never"}) == (False, 0)
    assert prepare(**{"adapter.train_text_encoder": True}) == (False, 0)


def test_memory_is_bounded(prepare, monkeypatch):
    monkeypatch.setattr(conditioning, "REMEMBERED_BYTES", 15_000)  # one caption is 77 x 32 x 4 bytes
    prepare()
    assert len(prepare.encoder._known) == 1 and prepare.encoder._known_bytes <= 15_000
    prepare.encoder(TEXTS)
    assert prepare.calls == TEXTS or len(prepare.calls) == 3, "only the first time, before the entries were there"


def test_kept_captions_train_the_same_lora_without_the_text_encoder(project, config, monkeypatch):
    def train(run, **changes):
        folder = train_project(project, change_settings(config, changes), run=run, on_event=lambda event: None)
        return read_lora(folder / "loras" / "mochi.safetensors").modules

    fresh = train("never", **{"data.cache_text": "never"})
    model = load_model(config.model)
    train_project(project, config, run="first", model=model, on_event=lambda event: None)
    assert "lora_te" in model.networks.sleeping(), "once all captions are kept, it leaves the memory"
    monkeypatch.setattr("lora_nb.models.stable_diffusion.encode_clip", None)  # whoever asks it now, fails
    kept = train("again")
    assert all(fresh[name].up.equal(kept[name].up) for name in fresh)
    assert len(list((project.cache / "captions").iterdir())) > 5, "shuffled captions, too"
