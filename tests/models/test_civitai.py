"""Models from Civitai, fetched from a server on this machine that cuts connections and lies."""

import shutil
from collections import namedtuple

import pytest

from lora_nb.errors import ModelError
from lora_nb.models import transfer
from lora_nb.models.civitai import fetch_from_civitai, is_civitai, read_address
from tests.models.stub_server import Stub

CONTENT = bytes(range(256)) * 40
DOWNLOAD, FACTS = "/api/download/models/12", "/api/v1/model-versions/12"


@pytest.fixture
def stub(monkeypatch, tmp_path):
    stub = Stub()
    monkeypatch.setenv("CIVITAI_ENDPOINT", stub.url)
    monkeypatch.setenv("LORA_NB_MODELS", str(tmp_path))
    monkeypatch.delenv("CIVITAI_TOKEN", raising=False)
    monkeypatch.setattr(transfer, "PATIENCE", 0.001)
    monkeypatch.setattr(transfer, "CHUNK", 1000)
    yield stub
    stub.close()


def all_files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("base", "numbers"),
    [
        ("civitai:12", (None, 12)),
        ("https://civitai.com/models/7?modelVersionId=12", (7, 12)),
        ("https://civitai.com/models/7/some-name?modelVersionId=12&x=1", (7, 12)),
        ("https://www.civitai.com/models/7/some-name", (7, None)),
        ("https://civitai.com/api/download/models/12?type=Model&format=SafeTensor", (None, 12)),
    ],
)
def test_addresses_are_understood(base, numbers):
    assert is_civitai(base)
    assert read_address(base) == numbers


def test_other_addresses_are_not():
    assert not is_civitai("https://civitai.com.example.org/models/7")
    with pytest.raises(ModelError, match="modelVersionId"):
        read_address("https://civitai.com/user/somebody")


@pytest.mark.parametrize("base", ["civitai:12", "https://civitai.com/models/7"])
def test_a_model_is_fetched_once(stub, base, tmp_path):
    stub.add_civitai_model(12, CONTENT)
    path = fetch_from_civitai(base)
    assert path.read_bytes() == CONTENT
    assert path.name == "good model.safetensors"
    assert all_files(tmp_path) == [path]
    asked = len(stub.asked)
    assert fetch_from_civitai("civitai:12") == path
    assert len(stub.asked) == asked  # not even asked for: it works without the internet


def test_a_cut_download_goes_on_where_it_stopped(stub):
    stub.add_civitai_model(12, CONTENT)
    stub.cut_after = [3000, 2000]
    assert fetch_from_civitai("civitai:12").read_bytes() == CONTENT
    assert [range for _, path, range, _ in stub.asked if path == DOWNLOAD] == [None, "bytes=3000-", "bytes=5000-"]


def test_another_process_goes_on_where_one_died(stub, tmp_path):
    stub.add_civitai_model(12, CONTENT)
    part = tmp_path / "civitai" / "12" / "good model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:4000])
    assert fetch_from_civitai("civitai:12").read_bytes() == CONTENT
    assert stub.asked[-1][2] == "bytes=4000-"


def test_a_server_that_does_not_continue_files_is_no_trouble(stub):
    stub.add_civitai_model(12, CONTENT)
    stub.ranges, stub.cut_after = False, [3000]
    assert fetch_from_civitai("civitai:12").read_bytes() == CONTENT


def test_remains_of_another_file_are_not_built_upon(stub, tmp_path):
    stub.add_civitai_model(12, CONTENT)
    part = tmp_path / "civitai" / "12" / "good model.safetensors.part"
    part.parent.mkdir(parents=True)
    for remains in (b"x" * 4000, b"x" * 50000):
        part.write_bytes(remains)
        path = fetch_from_civitai("civitai:12")
        assert path.read_bytes() == CONTENT
        path.unlink()


def test_it_gives_up_on_a_dead_connection_and_keeps_what_it_has(stub, tmp_path):
    stub.add_civitai_model(12, CONTENT)
    stub.cut_after = [4000, *[0] * 20]
    with pytest.raises(ModelError, match=r"cut.*kept"):
        fetch_from_civitai("civitai:12")
    assert [path.stat().st_size for path in all_files(tmp_path)] == [4000]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hashes": {"SHA256": "0" * 64}}, "damaged.*SHA256"),
        ({"sizeKB": 1.0}, "not the file that was published"),
    ],
)
def test_a_file_that_is_not_what_its_page_says_is_not_kept(stub, tmp_path, changes, words):
    stub.add_civitai_model(12, CONTENT, **changes)
    with pytest.raises(ModelError, match=words):
        fetch_from_civitai("civitai:12")
    assert all_files(tmp_path) == []


@pytest.mark.parametrize("path", [FACTS, DOWNLOAD])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "CIVITAI_TOKEN"),
        (403, "CIVITAI_TOKEN"),
        (404, "deleted"),
        (200, "web page.*CIVITAI_TOKEN"),
    ],
)
def test_refusals_are_explained_and_nothing_is_saved(stub, tmp_path, path, status, words):
    stub.add_civitai_model(12, CONTENT)
    stub.errors[path] = [status]
    with pytest.raises(ModelError, match=words):
        fetch_from_civitai("civitai:12")
    assert all_files(tmp_path) == []


def test_a_busy_server_is_asked_again(stub):
    stub.add_civitai_model(12, CONTENT)
    stub.errors[DOWNLOAD] = [429, 503]
    stub.error_headers = {"Retry-After": "0"}
    assert fetch_from_civitai("civitai:12").read_bytes() == CONTENT


def test_a_broken_server_is_given_up(stub):
    stub.add_civitai_model(12, CONTENT)
    stub.errors[DOWNLOAD] = [500] * 20
    with pytest.raises(ModelError, match=r"busy \(error 500\)"):
        fetch_from_civitai("civitai:12")


def test_the_key_is_sent_and_never_shown_or_written(stub, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("CIVITAI_TOKEN", "my-secret-key")
    stub.add_civitai_model(12, CONTENT, hashes={"SHA256": "0" * 64})
    with pytest.raises(ModelError) as caught:
        fetch_from_civitai("civitai:12")
    assert {authorization for *_, authorization in stub.asked} == {"Bearer my-secret-key"}
    output = capfd.readouterr()
    assert "my-secret-key" not in f"{caught.value}{output.out}{output.err}"
    assert "my-secret-key" not in repr(transfer.RemoteFile("u", "n", headers={"Authorization": "my-secret-key"}))


def test_a_full_disk_is_noticed_before_the_download(stub, monkeypatch):
    stub.add_civitai_model(12, CONTENT)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(ModelError, match=r"needs 0\.0 GB.*LORA_NB_MODELS"):
        fetch_from_civitai("civitai:12")
    assert not [path for _, path, _, _ in stub.asked if path == DOWNLOAD]


def test_pickled_files_and_other_kinds_are_refused(stub):
    stub.add_civitai_model(12, CONTENT, name="model.ckpt")
    with pytest.raises(ModelError, match=r"no \.safetensors file.*model\.ckpt"):
        fetch_from_civitai("civitai:12")
    stub.facts[FACTS]["model"]["type"] = "LORA"
    with pytest.raises(ModelError, match="'LORA', not a checkpoint"):
        fetch_from_civitai("civitai:12")


def test_a_name_cannot_lead_out_of_the_folder(stub, tmp_path):
    stub.add_civitai_model(12, CONTENT, name="../../../evil.safetensors")
    assert fetch_from_civitai("civitai:12") == tmp_path / "civitai" / "12" / "evil.safetensors"
