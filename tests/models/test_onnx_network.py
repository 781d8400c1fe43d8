"""Networks in ONNX files: they compute the same, and what does not convert is one line that names the operator."""

import re
import sys

import pytest
import torch
from torch import nn

from looktwice import attend
from looktwice.errors import LooktwiceWarning, MissingExtraError, ModelError, OptionError
from looktwice.gating import activation_calls
from looktwice.gating.frozen import frozen
from looktwice.models import Preprocessing, load_model, onnx_module
from noise import noise
from onnx_files import Attention, export, small

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*an ONNX file does not tell", "ignore:Using a non-tuple sequence")


def refused(name, message, kind=ModelError, **options):
    with pytest.raises(kind, match=message) as caught:
        load_model(str(name), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "onnx:"])
def test_a_file_is_a_network_with_numbered_classes(tmp_path, prefix):
    file = export(small(), tmp_path / "net.onnx")
    model = load_model(f"{prefix}{file}")
    assert model.classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert (model.name, model.weights) == (f"{prefix}{file}", f"in {file}")
    images, _ = model.prepare(noise(90, 70))
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), small()(images))


@pytest.mark.parametrize(
    ("network", "opset"),
    [
        pytest.param(small(activation), opset, id=f"{type(activation).__name__}-{opset}")
        for opset in (14, 17, 20)
        for activation in (
            nn.ReLU(),
            nn.ReLU6(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.SiLU(),
            nn.Hardswish(),
            nn.ELU(),
            nn.PReLU(),
        )
    ]
    + [pytest.param(Attention().eval(), opset, id=f"attention-{opset}") for opset in (14, 17, 20)],
)
def test_what_pytorch_exports_computes_the_same(tmp_path, network, opset):
    module = onnx_module(export(network, tmp_path / "net.onnx", opset=opset))
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(images), network(images), atol=1e-5, rtol=0)


def test_relus_of_a_file_carry_gates(tmp_path):
    module = onnx_module(export(small(), tmp_path / "net.onnx"))
    images = torch.randn(2, 3, 32, 32)
    with frozen(module) as network:
        assert len(activation_calls(network, images)[0]) == 2
    # The converter joins convolution and BatchNorm, which rounds differently.
    torch.testing.assert_close(attend(module, images, 1).maps, attend(small(), images, 1).maps, atol=5e-3, rtol=0)


def test_a_softmax_at_the_end_is_left_out(tmp_path):
    module = onnx_module(export(small(end=nn.Softmax(1)), tmp_path / "net.onnx"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(images), small()(images))


def test_imagenets_mean_and_the_files_own_size_are_taken_and_said(tmp_path):
    file = export(small(), tmp_path / "net.onnx", size=(64, 64))
    with pytest.warns(LooktwiceWarning, match=r"does not tell how images are preprocessed.*64×64.*mean 0\.485"):
        model = load_model(str(file))
    assert (model.preprocessing.resize, model.preprocessing.crop) == (73, 64)
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)


def test_a_size_that_the_file_leaves_open_is_imagenets(tmp_path):
    file = export(small(), tmp_path / "net.onnx")
    proto = onnx.load(str(file))
    for side in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "side"
    onnx.save(proto, str(file))
    assert load_model(str(file)).preprocessing.crop == 224


def test_class_names_are_given_to_the_outputs(tmp_path):
    file = export(small(), tmp_path / "net.onnx")
    assert load_model(str(file), classes=list("abcde")).classes == tuple("abcde")
    refused(file, "2 class names for .*net.onnx, which has 5 outputs", classes=["a", "b"])


def test_an_operator_that_the_converter_does_not_know_is_named(tmp_path):
    helper = onnx.helper
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    node = helper.make_node("Det", ["images"], ["scores"])
    graph = helper.make_graph([node], "net", [images], [scores])
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)]), str(file))
    refused(file, "onnx2torch cannot convert it .*the operator Det of version 11.*opset_version=14")


def test_a_network_for_one_image_only_is_refused(tmp_path):
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = small()[:6], small()[7]

        def forward(self, images):
            return self.after(self.before(images).reshape(1, 8))

    file = export(Single().eval(), tmp_path / "net.onnx", any_number=False)
    refused(file, r"net\.onnx: on images of shape \(2, 3, 32, 32\) it fails .*dynamic_axes")


def test_other_channels_and_sizes_are_the_files_own(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    file = export(network, tmp_path / "net.onnx", channels=1, size=(32, 48))
    model = load_model(str(file))
    assert model.preprocessing == Preprocessing((32, 48), (32, 48), (0.5,), (0.5,))
    assert model.prepare(noise(90, 70))[0].shape == (1, 1, 32, 48)
    assert load_model(str(file), preprocessing={"mean": [0.1]}).preprocessing.mean == (0.1,)


@pytest.mark.parametrize(("content", "message"), [(b"", "has 0 inputs"), (b"no protobuf", "no ONNX file, or damaged")])
def test_a_file_that_is_no_network_is_one_line(tmp_path, content, message):
    file = tmp_path / "net.onnx"
    file.write_bytes(content)
    refused(file, message)


@pytest.mark.parametrize("name", ["gone.onnx", "onnx:gone.onnx", "onnx:", "GONE.ONNX"])
def test_a_file_that_is_gone_is_one_line(name):
    refused(name, "no such file; check the path of the network")


def test_weights_are_in_the_file(tmp_path):
    file = export(small(), tmp_path / "net.onnx")
    refused(file, "has its weights in it; leave weights out", OptionError, weights="random")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'looktwice[onnx]'")):
        load_model("net.onnx")
