"""Files from the Hub: what is asked for, what is said without a connection, and what the cache gives."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from looktwice.errors import ModelError
from looktwice.models.hub import fetch_address, fetch_repository, weights_file

hub = pytest.importorskip("huggingface_hub")


class OfflineError(Exception):
    """What the Hub's client raises without a connection."""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A Hub with one repository. Lists what is asked of it."""
    requests = []

    def model_info(_, place, **options):
        requests.append(("info", place, options["revision"]))
        assert 0 < options["timeout"] <= 10
        names = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "modeling_own.py"]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    def download(place, **options):
        requests.append(("download", place, options))
        return str(tmp_path)

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return requests


def test_only_the_configuration_and_safe_weights_are_asked_for(asked, tmp_path):
    assert fetch_repository("owner/name@v2", weights=True) == tmp_path
    (_, place, options) = asked[1]
    assert asked[0] == ("info", "owner/name", "v2")
    assert (place, options["revision"]) == ("owner/name", "v2")
    wanted = options["allow_patterns"]
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= set(wanted)
    assert not any(name.endswith((".py", ".bin")) for name in wanted)


def test_without_need_no_weights_are_asked_for(asked):
    fetch_repository("owner/name", weights=False)
    assert not any("model" in name for name in asked[1][2]["allow_patterns"])
    assert asked[1][2]["revision"] is None


def test_the_older_file_of_weights_is_asked_for_where_there_is_no_safe_one(asked, monkeypatch):
    old = SimpleNamespace(siblings=[SimpleNamespace(rfilename="pytorch_model.bin")])
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: old)
    fetch_repository("owner/name", weights=True)
    assert "pytorch_model.bin" in asked[0][2]["allow_patterns"]


def offline(*_, **__):
    raise OfflineError("[Errno -2] Name or service\nnot known")


def test_without_a_connection_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(hub.HfApi, "model_info", offline)
    begun = time.monotonic()
    with pytest.raises(ModelError) as caught:
        fetch_repository("owner/never-fetched", weights=True)
    assert time.monotonic() - begun < 2  # no retries
    text = str(caught.value)
    assert text.startswith("owner/never-fetched could not be fetched from https://huggingface.co/owner/never-fetched")
    assert "Name or service not known" in text
    assert "weights='random'" in text
    assert "\n" not in text


def test_without_a_connection_the_cache_is_taken(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(hub.HfApi, "model_info", offline)
    assert fetch_repository("owner/name", weights=True) == tmp_path
    assert asked == [("download", "owner/name", {"revision": None, "local_files_only": True})]


def test_a_download_that_breaks_off_is_one_line(asked, monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match="could not be fetched"):
        fetch_repository("owner/name", weights=True)


def test_an_unknown_repository_is_not_looked_for_in_the_cache(asked, monkeypatch):
    errors = pytest.importorskip("huggingface_hub.errors")

    def unknown(*_, **__):
        raise errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError)

    monkeypatch.setattr(hub.HfApi, "model_info", unknown)
    with pytest.raises(ModelError, match="no such repository, or it is private"):
        fetch_repository("owner/nothing", weights=True)
    assert asked == []


def test_progress_bars_are_shown_again_afterwards(asked, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled

    before = are_progress_bars_disabled()
    fetch_repository("owner/name", weights=True)
    assert are_progress_bars_disabled() == before
    assert capfd.readouterr() == ("", "")


ADDRESS = "https://example.org/weights/net_v1-d1d86009.pth?download=1"


def test_an_address_is_fetched_once_with_its_hash(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []

    def download(address, file, hash_prefix, progress):
        asked.append((address, hash_prefix, progress))
        Path(file).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: False, raising=False)
    first = fetch_address(ADDRESS, "timm:net")
    assert first == fetch_address(ADDRESS, "timm:net")
    assert (first.name, first.read_bytes()) == ("net_v1-d1d86009.pth", b"weights")
    assert asked == [(ADDRESS, "d1d86009", False)]


def test_an_address_that_cannot_be_reached_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ModelError, match=r"timm:net could not be fetched from https://example\.org.*weights=FILE"):
        fetch_address(ADDRESS, "timm:net")


def test_safe_weights_come_first(tmp_path):
    assert weights_file(tmp_path) is None
    (tmp_path / "pytorch_model.bin").touch()
    assert weights_file(tmp_path).name == "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert weights_file(tmp_path).name == "model.safetensors"
