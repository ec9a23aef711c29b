"""Models from the hub, fetched from a server on this machine that speaks as the hub does."""

import pytest

from lora_nb.errors import ModelError
from lora_nb.models.hub import HubFile, choose_files, fetch_from_hub, is_hub_name
from tests.models.stub_server import Stub

NAME = "owner/name"
WEIGHTS = b"weights" * 5000
FILES = {
    "model_index.json": b"{}",
    "README.md": b"hello",
    "whole.safetensors": b"not needed",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "unet/diffusion_pytorch_model.fp16.safetensors": WEIGHTS[:1000],
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "safety_checker/model.safetensors": b"not needed",
    "tokenizer/merges.txt": b"a b",
}


@pytest.fixture
def stub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    stub = Stub()
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    yield stub
    stub.close()


def names(files):
    return [file.name for file in files]


def listing(files):
    return [HubFile(name, len(content), "") for name, content in files.items()]


def test_only_what_is_needed_is_fetched_and_only_once(stub):
    stub.add_hub_model(NAME, FILES)
    folder = fetch_from_hub(NAME)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == [
        "model_index.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS
    downloads = [path for method, path, _, _ in stub.asked if method == "GET" and "resolve" in path]
    assert fetch_from_hub(NAME) == folder
    assert [path for method, path, _, _ in stub.asked if method == "GET" and "resolve" in path] == downloads


def test_what_was_fetched_works_without_the_internet(stub):
    stub.add_hub_model(NAME, FILES)
    folder = fetch_from_hub(NAME)
    stub.close()
    assert fetch_from_hub(NAME) == folder


def test_a_cut_download_goes_on_where_it_stopped(stub):
    stub.add_hub_model(NAME, FILES)
    stub.cut_after = [20000]
    folder = fetch_from_hub(NAME)
    assert (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS
    assert "bytes=20000-" in [range for *_, range, _ in stub.asked]


def test_a_wrong_hash_is_noticed_and_the_file_not_kept(stub, tmp_path):
    stub.add_hub_model(NAME, FILES, **{"unet/diffusion_pytorch_model.safetensors": "0" * 64})
    with pytest.raises(ModelError, match="SHA256"):
        fetch_from_hub(NAME)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "gated.*licence.*HF_TOKEN"),
        (401, "RepoNotFound", "no 'owner/name' on the Hugging Face hub"),
        (200, "", "could not be fetched"),
    ],
)
def test_refusals_are_explained(stub, status, code, words):
    stub.errors[f"/api/models/{NAME}"] = [status] * 10
    stub.error_headers = {"X-Error-Code": code} if code else {}
    with pytest.raises(ModelError, match=words):
        fetch_from_hub(NAME)


def test_the_16_bit_edition_is_taken_where_it_is_wanted():
    chosen = names(choose_files(listing(FILES), ("unet",), True, None, NAME))
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in chosen
    assert "unet/diffusion_pytorch_model.safetensors" not in chosen


def test_models_in_pieces_come_with_their_index():
    pieces = {
        "model_index.json": b"",
        "unet/diffusion_pytorch_model.safetensors.index.json": b"",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": b"",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors": b"",
    }
    assert names(choose_files(listing(pieces), ("unet",), False, None, NAME)) == list(pieces)


def test_a_single_file_can_be_meant():
    single = {"README.md": b"", "model.safetensors": b""}
    assert names(choose_files(listing(single), (), False, None, NAME)) == ["model.safetensors"]
    assert names(choose_files(listing(FILES), (), False, "whole.safetensors", NAME)) == ["whole.safetensors"]
    with pytest.raises(ModelError, match=r"2 files.*owner/name/a\.safetensors"):
        choose_files(listing({"a.safetensors": b"", "b.safetensors": b""}), (), False, None, NAME)
    with pytest.raises(ModelError, match=r"no \.safetensors files"):
        choose_files(listing({"model_index.json": b"", "unet/model.bin": b""}), ("unet",), False, None, NAME)


def test_names_on_the_hub_are_told_from_paths():
    assert is_hub_name("owner/name") and is_hub_name("black-forest-labs/FLUX.1-dev/flux1-dev.safetensors")
    assert not is_hub_name("models/old.ckpt") and not is_hub_name("/home/me/model") and not is_hub_name("workshop")
