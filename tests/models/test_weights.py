"""Weights: downloads up to the request, files, and their hash."""

import hashlib
import pickle
import re
import struct
import urllib.error
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision import models as tv

from looktwice.errors import InputError, LooktwiceError, MissingExtraError, ModelError, OptionError
from looktwice.models import load_model, weights_hash
from noise import noise
from own_networks import small_net


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    requests = []

    def refuse(request, *args, **kwargs):
        requests.append(request.full_url)
        raise urllib.error.URLError("no route\nto host")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return requests


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "densenet121"])
def test_default_asks_for_torchvisions_default_and_explains_a_failure(offline, name, capfd):
    with pytest.raises(ModelError, match="weights=FILE") as caught:
        load_model(name)
    url = tv.get_model_weights(name).DEFAULT.url
    assert offline == [url]
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_download_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / Path(tv.SqueezeNet1_1_Weights.DEFAULT.url).name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a page of a proxy's error")
    with pytest.raises(ModelError, match="could not be fetched"):
        load_model("squeezenet1_1")


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "densenet121"])
def test_downloaded_weights_give_torchvisions_own_network(monkeypatch, name):
    """What the builder of torchvision makes of a download, this makes of it too: auxiliary heads, old names, input."""
    options = {"init_weights": False} if name == "googlenet" else {}
    published = tv.get_model(name, weights=None, **options).state_dict()
    if name == "densenet121":  # as the file has them, from before PyTorch forbade dots in names
        old = [
            (re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key), value) for key, value in published.items()
        ]
        published = OrderedDict((key, value) for key, value in old if not key.endswith("num_batches_tracked"))
        assert "features.denseblock1.denselayer1.norm.1.weight" in published
    asked = []

    def fetch(url, **options):
        asked.append(options)
        return OrderedDict(published)

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    ours = load_model(name)
    theirs = tv.get_model(name, weights="DEFAULT").eval()
    assert asked[0]["weights_only"] is True
    assert asked[0]["check_hash"] is True
    assert ours.weights == f"torchvision {tv.get_model_weights(name).DEFAULT}"
    assert weights_hash(ours.module) == weights_hash(theirs)
    batch, _ = ours.prepare(noise(230, 240))
    with torch.no_grad():
        torch.testing.assert_close(ours.module(batch), theirs(batch), atol=0, rtol=0)


def save(state, file):
    save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
    return file


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_files_are_read_and_cast(net_file, tmp_path, suffix):
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in small_net().state_dict().items()
    }
    file = save(state, tmp_path / f"weights{suffix}")
    model = load_model(f"{net_file}:net", weights=file)
    assert model.weights == str(file)
    for key, value in model.module.state_dict().items():
        assert value.dtype == (torch.float32 if state[key].is_floating_point() else torch.int64)
        torch.testing.assert_close(value, state[key].to(value.dtype), atol=0, rtol=0)


def test_wrapped_and_data_parallel_state_dicts(net_file, tmp_path):
    state = small_net().state_dict()
    file = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, file)
    assert weights_hash(load_model(f"{net_file}:net", weights=str(file)).module) == weights_hash(small_net())


def test_old_files_without_batch_counters(net_file, tmp_path):
    state = {key: value for key, value in small_net().state_dict().items() if "num_batches" not in key}
    assert load_model(f"{net_file}:net", weights=save(state, tmp_path / "a.safetensors")).classes[2] == "class 2"


def test_mnasnet_loads_without_the_version_that_safetensors_drops(tmp_path):
    module = tv.get_model("mnasnet0_5", weights=None)
    file = save(module.state_dict(), tmp_path / "a.safetensors")
    assert weights_hash(load_model("mnasnet0_5", weights=file).module) == weights_hash(module)


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_auxiliary_heads_of_a_file_are_left_out_and_the_input_rescaled(tmp_path, name):
    full = tv.get_model(name, weights=None, aux_logits=True, transform_input=True, init_weights=False).eval()
    model = load_model(name, weights=save(full.state_dict(), tmp_path / "a.safetensors"))
    batch, _ = model.prepare(noise(310, 300))
    assert not any(key.lower().startswith("aux") for key in model.module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model.module(batch), full(batch), atol=0, rtol=0)


def test_misfit_names_the_first_few_and_how_many(net_file, tmp_path):
    state = small_net(classes=5).state_dict()
    del state["0.weight"]
    state |= {f"extra{number}": torch.zeros(1) for number in range(4)}
    with pytest.raises(ModelError) as caught:
        load_model(f"{net_file}:net", weights=save(state, tmp_path / "a.safetensors"))
    text = str(caught.value)
    assert "1 missing (0.weight)" in text
    assert "4 unexpected (extra0, extra1, extra2 …)" in text
    assert "2 of another shape (5.weight: (5, 4) instead of (3, 4), 5.bias: (5,) instead of (3,))" in text


class Payload:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_not_run(tmp_path, net_file):
    trap, file = tmp_path / "was_here", tmp_path / "weights.pth"
    torch.save({"state_dict": Payload(trap)}, file)
    with pytest.raises(ModelError, match="run code"):
        load_model(f"{net_file}:net", weights=file)
    assert not trap.exists()
    file.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(ModelError, match="run code"):
        load_model(f"{net_file}:net", weights=file)
    assert not trap.exists()
    pickle.loads(file.read_bytes())
    assert trap.exists()  # so the trap does work


def whole_module(file):
    torch.save(small_net(), file)


def script(file):
    torch.jit.save(torch.jit.trace(small_net().eval(), torch.zeros(1, 3, 8, 8)), file)


def cut_short(file):
    save(small_net().state_dict(), file)
    file.write_bytes(file.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pth", whole_module, "run code"),
        pytest.param("a.pt", script, "run code", marks=pytest.mark.filterwarnings("ignore:.*torch.jit")),
        ("a.pth", cut_short, "damaged"),
        ("a.safetensors", cut_short, "damaged"),
        ("a.pth", Path.touch, "damaged"),
        ("a.safetensors", Path.touch, "damaged"),
        ("a.pth", lambda file: file.write_bytes(b"\x00garbage" * 9), "damaged"),
        ("a.pth", lambda file: torch.save({"lr": 0.1}, file), "no state dict"),
        ("a.pth", lambda file: torch.save([torch.zeros(2)], file), "no state dict"),
        ("a.pth", lambda file: torch.save({}, file), "no state dict"),
        ("a.pth", lambda file: None, "no such file"),
        ("a.pth", Path.mkdir, "no such file"),
        ("a.onnx", Path.touch, "'default', 'random' or a .safetensors"),
        ("defualt", lambda file: None, "'default', 'random' or a .safetensors"),
    ],
)
def test_unusable_files_are_one_line(net_file, tmp_path, name, write, message):
    file = tmp_path / name
    write(file)
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        load_model(f"{net_file}:net", weights=file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hash_by_hand():
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(-1.0)
    text = (
        b"bias torch.float32 (1,)\n"
        + struct.pack("<f", -1.0)
        + b"weight torch.float32 (1, 1)\n"
        + struct.pack("<f", 2.0)
    )
    assert weights_hash(layer) == hashlib.sha256(text).hexdigest()


def test_hash_sees_one_bit_one_buffer_and_the_dtype():
    net = small_net()
    seen = {weights_hash(net)}
    net[1].num_batches_tracked += 1
    seen.add(weights_hash(net))
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = net[0].weight[0, 0, 0, 0].nextafter(torch.tensor(9.0))
    seen.add(weights_hash(net))
    seen.add(weights_hash(net.bfloat16()))
    assert len(seen) == 4


def test_every_error_has_the_common_base():
    assert all(issubclass(kind, LooktwiceError) for kind in (InputError, MissingExtraError, ModelError, OptionError))
