import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_nb.captioners.wd import WdTagger, find_cut, prepare
from lora_nb.errors import MissingPackageError, ModelError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = 8
TAGS = "safe,9 much_blue,0 much_green,0 much_red,0 ^_^,0 some_one_(series),4"
WEIGHTS = [[0.9, 1, 0, 0, 0.4, 0], [0, 0, 1, 0, 0.4, 0], [0, 0, 0, 1, 0.4, 0.8]]  # of blue, green, red: (3, 6)


def make_tagger(
    folder: Path, batch: int | str = "N", tags: str = TAGS, shape: tuple[int, ...] = (SIZE, SIZE, 3)
) -> Path:
    """A tagger in the WD format whose tags are the means of the picture's channels."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.array(WEIGHTS, dtype=np.float32) / 255
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["tags"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("picture", number, [batch, *shape])],
        [helper.make_tensor_value_info("tags", number, [batch, 6])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rows = [f"{number},{line},1" for number, line in enumerate(tags.split())]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n")
    return folder


@pytest.fixture
def tagger(tmp_path: Path) -> WdTagger:
    return WdTagger(make_tagger(tmp_path / "tagger"))


def test_tags_are_spelled_as_in_captions_and_ratings_left_out(tagger):
    assert tagger.tags == ("much blue", "much green", "much red", "^_^", "some one (series)")


def test_the_channels_are_blue_green_red_from_0_to_255(tagger):
    tags = tagger.predict([Image.new("RGB", (SIZE, SIZE), (255, 102, 0))])[0]

    assert tags == pytest.approx(
        {"much blue": 0, "much green": 0.4, "much red": 1, "^_^": 0.56, "some one (series)": 0.8}, abs=1e-6
    )
    assert all(type(value) is float for value in tags.values())


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_give_what_single_pictures_give(tmp_path, batch, batch_size):
    tagger = WdTagger(make_tagger(tmp_path / "tagger", batch))
    pictures = [Image.new("RGB", (9 + number, 20), (number * 30, 90, 200)) for number in range(7)]

    together = tagger.predict(pictures, batch_size)

    assert len(together) == 7
    for one, picture in zip(together, pictures, strict=True):
        assert one == pytest.approx(tagger.predict([picture])[0], abs=1e-6)
    assert tagger.predict([]) == []


def test_a_caption_has_the_sure_tags_the_surest_first(tagger):
    orange = Image.new("RGB", (SIZE, SIZE), (255, 102, 0))

    assert tagger.caption(orange) == "much red, ^_^, much green"
    assert tagger.caption(orange, threshold=0.5) == "much red, ^_^"
    assert tagger.caption(orange, 0.5, character_threshold=0.7) == "much red, some one (series), ^_^"
    assert tagger.caption(Image.new("RGB", (SIZE, SIZE))) == ""


def test_a_picture_is_padded_with_white_and_not_squashed():
    array = prepare(Image.new("RGB", (4, 8), (10, 20, 30)), 8)

    assert array.shape == (8, 8, 3) and array.dtype == np.float32
    assert (array[:, :2] == 255).all() and (array[:, 6:] == 255).all()
    assert (array[:, 2:6] == (30, 20, 10)).all()


def test_an_odd_margin_is_split_as_the_reference_does():
    array = prepare(Image.new("RGB", (8, 5), "black"), 8)

    assert (array[:1] == 255).all() and (array[1:6] == 0).all() and (array[6:] == 255).all()


def test_resizing_is_bicubic():
    noise = Image.effect_noise((20, 20), 90).convert("RGB")

    assert (prepare(noise, 8)[..., 0] == np.asarray(noise.resize((8, 8), Image.Resampling.BICUBIC))[..., 2]).all()


def test_transparency_is_white():
    assert (prepare(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 8) == 255).all()


def test_a_folder_that_is_no_tagger_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ModelError, match=r"selected_tags\.csv"):
        WdTagger(tmp_path)
    folder = make_tagger(tmp_path / "tagger")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        WdTagger(folder)
    (folder / "selected_tags.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelError, match="not a WD tagger's tag list"):
        WdTagger(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"tag list|model\.onnx"):
        WdTagger(folder)


def test_a_model_with_another_input_is_refused(tmp_path):
    with pytest.raises(ModelError, match="as WD taggers do"):
        WdTagger(make_tagger(tmp_path / "tagger", shape=(SIZE, SIZE // 2, 3)))


def test_tags_of_another_model_are_noticed(tmp_path):
    tagger = WdTagger(make_tagger(tmp_path / "tagger", tags="safe,9 hat,0"))

    with pytest.raises(ModelError, match=r"gives 6 values, but selected_tags\.csv names 2"):
        tagger.predict([Image.new("RGB", (8, 8))])


def test_without_onnxruntime_the_pip_command_is_given(tmp_path, monkeypatch):
    folder = make_tagger(tmp_path / "tagger")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingPackageError, match="pip install onnxruntime"):
        WdTagger(folder)


def test_the_cut_lies_in_the_largest_gap():
    assert find_cut([0.9, 0.1, 0.8, 0.3]) == pytest.approx(0.55)
    assert find_cut([0.2, 0.01], lowest=0.15) == 0.15
    assert find_cut([0.4]) == 0 and find_cut([], lowest=0.15) == 0.15


def test_thresholds_can_be_chosen_for_the_picture_and_tags_left_out(tagger):
    picture = Image.new("RGB", (SIZE, SIZE), (255, 102, 0))  # red 1, the face 0.56, green 0.4, blue 0
    assert tagger.caption(picture, threshold=0.1) == "much red, ^_^, much green"
    assert tagger.caption(picture, threshold=None) == "much red"
    assert tagger.caption(picture, threshold=0.1, unwanted=["much_red", "^_^"]) == "much green"
