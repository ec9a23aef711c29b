from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.models.base import load_model
from lora_nb.models.token_counts import load_token_counter


def test_the_model_that_is_here_counts_itself():
    config = TrainConfig()
    counter = load_token_counter(config)
    assert counter.count("mochi, smile") == load_model(config.model).count_tokens("mochi, smile")
    assert (counter.most, counter.note) == (75, "")


def test_clips_own_tokenizer_counts_for_models_that_are_not_here_yet():
    config = change_settings(TrainConfig(), {"model.base": "someone/else", "model.family": "sdxl"})
    counter = load_token_counter(change_settings(config, {"data.max_tokens": 150}))
    assert counter.count("a photo of a cat, smile") == 7 and counter.most == 150 and not counter.note


def test_flux_is_near_and_says_so():
    config = change_settings(TrainConfig(), {"model.base": "someone/else", "model.family": "flux"})
    counter = load_token_counter(config)
    assert counter.most > 200 and "T5" in counter.note


def test_weights_are_no_words():
    changes = {"model.base": "someone/else", "model.family": "sd1", "data.weighted_captions": True}
    counter = load_token_counter(change_settings(TrainConfig(), changes))
    assert counter.count("(smile:1.3)") == counter.count("smile") == 1
