"""Activations that a file has written out in parts are whole again, and nothing else changes."""

import pytest
import torch
from torch import nn

from looktwice.models.onnx_activations import ACTIVATIONS, join_activations
from looktwice.models.onnx_network import onnx_module
from onnx_files import Attention, export, small

convert = pytest.importorskip("onnx2torch").convert


class Written(nn.Module):
    """An activation in a formula of one's own."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, values):
        return self.formula(values)


WHOLE = {
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
    "Hardswish": nn.Hardswish(),
    "Mish": nn.Mish(),
}
FORMULAS = {
    "GELU": [
        lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
        lambda x: x * (0.5 * (1 + torch.erf(x * 0.7071067811865476))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))),
    ],
    "SiLU": [lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * x],
    "Hardswish": [lambda x: x * nn.functional.relu6(x + 3) / 6, lambda x: x * (torch.clamp(x + 3, 0, 6) / 6)],
    "Mish": [lambda x: x * torch.tanh(nn.functional.softplus(x))],
}


def kinds(module):
    return [type(part).__name__ for part in module.modules()]


@pytest.mark.parametrize("opset", [12, 14, 20])
@pytest.mark.parametrize("kind", WHOLE)
def test_pytorchs_own_activations_are_whole_again(tmp_path, kind, opset):
    network = small(WHOLE[kind])
    module = onnx_module(export(network, tmp_path / "net.onnx", opset=opset))
    assert kinds(module).count(kind) == 1
    assert not {"OnnxErf", "OnnxFunction", "Sigmoid", "Softplus", "OnnxHardSigmoid"} & set(kinds(module))


@pytest.mark.parametrize(
    ("kind", "formula"), [(kind, formula) for kind, formulas in FORMULAS.items() for formula in formulas]
)
def test_formulas_are_recognised_by_what_they_compute(tmp_path, kind, formula):
    network = small(Written(formula))
    module = onnx_module(export(network, tmp_path / "net.onnx"))
    assert kinds(module).count(kind) == 1
    assert kinds(module).count("ReLU") == 1
    assert "ReLU6" not in kinds(module)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(images), network(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: x * torch.sigmoid(2 * x),
        lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
        lambda x: 2 * x + 1,
        lambda x: x * x,
        lambda x: x + torch.erf(x),
    ],
    ids=["another scale", "a squeeze", "a line", "a square", "a sum"],
)
def test_what_is_no_known_activation_stays_as_it_is(tmp_path, formula):
    network = small(Written(formula))
    before = convert(export(network, tmp_path / "net.onnx"))
    written = len(list(before.graph.nodes))
    after = join_activations(before)
    assert len(list(after.graph.nodes)) == written
    assert not {"GELU", "SiLU", "Hardswish", "Mish"} & set(kinds(after))


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_the_activation_of_a_transformer_block_is_found(tmp_path):
    module = onnx_module(export(Attention().eval(), tmp_path / "net.onnx"))
    assert kinds(module).count("GELU") == 1


def test_an_activation_that_is_used_twice_stays_connected(tmp_path):
    class Twice(nn.Module):
        def forward(self, values):
            found = values * torch.sigmoid(values)
            return found + found.mean((2, 3), keepdim=True)

    network = small(Twice())
    module = onnx_module(export(network, tmp_path / "net.onnx"))
    assert kinds(module).count("SiLU") == 1
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(images), network(images), atol=1e-5, rtol=0)


def test_the_activations_differ_from_each_other():
    points = torch.linspace(-8, 8, 321)
    made = [make()(points) for make in ACTIVATIONS.values()]
    for index, one in enumerate(made):
        for other in made[index + 1 :]:
            assert (one - other).abs().max() > 1e-4
