"""The demonstrations for the notebooks, on a tiny model."""

from PIL import Image

from lora_nb.config import DataConfig, LossConfig
from lora_nb.config_file import make_config
from lora_nb.dataset.final_captions import final_caption
from lora_nb.dataset.images import scan_images
from lora_nb.evaluation.canvas import write_png
from lora_nb.training.cache import cache_dataset
from lora_nb.widgets.lessons import list_loss_weights, plot_noising, plot_shuffling

DATA = DataConfig(resolution=64, bucket_step=32, min_bucket_size=32, max_bucket_size=128)


def test_noising_shows_each_level_and_the_models_guess(tiny_sd1, tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "001.png")
    images = cache_dataset(tiny_sd1, scan_images(tmp_path), DATA, tmp_path / "cache")
    figure = plot_noising(tiny_sd1, images[0], timesteps=(100, 900))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["timestep 100", "timestep 900", "the model's guess", "the model's guess"]
    assert write_png(figure).startswith(b"\x89PNG")


def test_shuffling_shows_the_words_that_training_will_read(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "001.png")
    (tmp_path / "001.txt").write_text("mochi, smile, forest, sitting")
    item = scan_images(tmp_path).items[0]
    config = make_config({"data": {"keep_tokens": 1, "caption_dropout_every_n_epochs": 3}})
    figure = plot_shuffling(item, config, epochs=3)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[1:6] == ["epoch 1", *final_caption(item, config, 1).split(", ")]
    assert texts[-2:] == ["epoch 3", "no words at all"]
    framed = [patch for patch in figure.axes[0].patches if patch.get_edgecolor()[3]]
    assert len(framed) == 2  # the trigger word, in the two rows that have words


def test_debiased_weighting_counts_noisy_pictures_more_and_clean_ones_less():
    rows = list_loss_weights(LossConfig(), timesteps=(1, 500, 998))
    assert [row["none"] for row in rows] == [1, 1, 1]
    assert rows[0]["debiased"] < 0.05 < rows[1]["debiased"] < rows[2]["debiased"]
    assert rows[0]["picture left"] == "100%"


def test_the_schedule_and_the_weights_are_drawn():
    from lora_nb.config import LossConfig, OptimizerConfig
    from lora_nb.widgets.lessons import plot_loss_weights, plot_schedule

    figure = plot_schedule(OptimizerConfig(lr_scheduler="cosine"), 40)
    falling, constant = figure.axes[0].get_lines()
    assert falling.get_ydata()[0] > falling.get_ydata()[-1] and len(set(constant.get_ydata())) == 1
    names = {line.get_label() for line in plot_loss_weights(LossConfig()).axes[0].get_lines()}
    assert {"min_snr", "debiased"} <= names
