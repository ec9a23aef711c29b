import pytest
from PIL import Image

from lora_nb.captioners.florence import Florence, clean_description, trim_sentences
from lora_nb.errors import ModelError
from tests.captioners.tiny_florence import save_tiny_florence


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_florence(tmp_path_factory.mktemp("florence") / "model")


@pytest.mark.parametrize("task", ["short", "detailed", "paragraph"])
def test_the_real_class_captions_a_picture_the_same_way_twice(folder, task):
    florence = Florence(folder, task=task)
    picture = Image.new("RGBA", (90, 60), (200, 30, 30, 255))

    first = florence.caption(picture)

    assert isinstance(first, str) and first == florence.caption(picture)
    assert "<" not in first.replace("<unk>", "") or "s>" not in first, "no special token is left in the caption"
    assert florence.describe_device() == "Florence-2 on cpu, float32"


def test_the_question_is_the_tasks_own(folder):
    florence = Florence(folder, task="paragraph")
    seen = []
    generate = florence._model.generate
    florence._model.generate = lambda **inputs: seen.append(inputs) or generate(**inputs)

    florence.caption(Image.new("RGB", (64, 64)))

    tokenizer = florence._processor.tokenizer
    asked = tokenizer.decode([token for token in seen[0]["input_ids"][0].tolist() if token < tokenizer.image_token_id])
    assert "paragraph" in asked
    assert (seen[0]["num_beams"], seen[0]["do_sample"]) == (3, False)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The image shows a cat on a mat.", "A cat on a mat."),
        ("The image is a close-up of a flower.", "A close-up of a flower."),
        ("This picture depicts two men.", "Two men."),
        ("In this image we can see a dog.", "A dog."),
        ("In the image, a boy runs.", "A boy runs."),
        ("A photo  of a\nhouse.", "A photo of a house."),
        ("The image shows ", "The image shows"),
    ],
)
def test_openings_without_content_are_taken_away(said, kept):
    assert clean_description(said) == kept


def test_long_texts_end_with_a_whole_sentence():
    def count(text: str) -> int:
        return len(text.split())

    text = "One two three. Four five six seven. Eight."
    assert trim_sentences(text, count, 8) == text
    assert trim_sentences(text, count, 7) == "One two three. Four five six seven."
    assert trim_sentences(text, count, 6) == "One two three."
    assert trim_sentences("one two, three four", count, 2) == "one two"


def test_other_models_are_refused_with_the_way_out(tmp_path, tiny_sd1_folder):
    with pytest.raises(ModelError, match="florence-community"):
        Florence(tiny_sd1_folder / "text_encoder")
    with pytest.raises(ModelError, match="no captioner at"):
        Florence("nowhere at all")
    with pytest.raises(ModelError, match="Choose one of: short"):
        Florence(tmp_path, task="poem")
