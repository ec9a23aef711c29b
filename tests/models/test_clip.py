"""CLIP: long captions in pieces, and words that count more."""

import pytest
import torch

from lora_nb.models.clip import count_tokens, encode_clip


@pytest.fixture
def read(tiny_sd1):
    encoder = tiny_sd1.text_encoders["lora_te"]

    def run(caption, **more):
        with torch.no_grad():
            return encode_clip(tiny_sd1.tokenizers["lora_te"], encoder, [caption], **more)

    run.tokenizer, run.encoder = tiny_sd1.tokenizers["lora_te"], encoder
    return run


def test_a_short_caption_is_read_as_transformers_reads_it(read):
    rows = read.tokenizer(["a cat, two dogs"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = read.encoder(rows)
    found = read("a cat, two dogs")
    assert found.hidden_states.equal(expected.last_hidden_state) and found.pooled.equal(expected.pooler_output)


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_a_long_caption_is_read_in_pieces_with_start_and_end_each(read, clip_skip):
    text = " ".join(f"{number:02}" for number in range(60))  # two letters, so two tokens each
    assert count_tokens(read.tokenizer, text) == 120
    words = text.split(" ")
    found = read(text, max_tokens=150, layers_back=clip_skip - 1)
    ids = read.tokenizer(text, add_special_tokens=False).input_ids
    start, end = read.tokenizer.bos_token_id, read.tokenizer.eos_token_id
    rows = [[start, *ids[:75], end], [start, *ids[75:], end] + [end] * 30]
    with torch.no_grad():
        output = read.encoder(torch.tensor(rows), output_hidden_states=True)
        expected = output.hidden_states[-clip_skip]
        expected = read.encoder.final_layer_norm(expected)
    assert found.hidden_states.shape == (1, 154, 32) and len(words) == 60
    torch.testing.assert_close(found.hidden_states[0], torch.cat(list(expected)))
    assert found.pooled.equal(output.pooler_output[:1])
    assert read(text, max_tokens=225).hidden_states.shape[1] == 231
    torch.testing.assert_close(read(text, layers_back=clip_skip - 1).hidden_states, found.hidden_states[:, :77])


def test_a_weight_multiplies_what_is_said_about_its_words(read):
    plain = read("aa bb cc").hidden_states
    weighted = read("aa (bb:1.5) cc", weighted=True).hidden_states
    factors = torch.ones(77)
    factors[3:5] = 1.5  # start, a, a, then the two letters of bb
    torch.testing.assert_close(weighted, plain * factors[None, :, None])
    assert read("aa bb cc", weighted=True).hidden_states.equal(plain)
    assert not read("aa (bb:1.5) cc").hidden_states.equal(plain), "without the setting brackets are text"


def test_training_and_drawing_read_alike(tiny_sd1, project_config=None):
    from lora_nb.config import GenerationConfig
    from lora_nb.sampling import generate

    shared = {"prompt": "x " * 60 + "(yy:1.4)", "steps": 1, "width": 64, "height": 64}
    seen = []
    encode = tiny_sd1.encode_captions
    tiny_sd1.encode_captions = lambda *args: seen.append(args[1:]) or encode(*args)
    one = generate(tiny_sd1, GenerationConfig(max_tokens=150, weighted_captions=True, **shared))
    other = generate(tiny_sd1, GenerationConfig(**shared))
    assert seen == [(1, 150, True)] * 2 + [(1, 75, False)] * 2
    assert one.tobytes() != other.tobytes()
