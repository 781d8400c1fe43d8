"""ONNX files of newer operator sets, and weights that a file has once for several layers."""

import numpy as np
import pytest
import torch
from torch import nn

from looktwice.errors import ModelError
from looktwice.models.onnx_network import onnx_module
from looktwice.models.onnx_versions import NEWEST, in_known_version, without_copies
from onnx_files import export, small

onnx = pytest.importorskip("onnx")


def graph(nodes, *, opset, constants=None):
    """A file's network of these nodes, from ``x`` (N, 3, 8, 8) to ``y``."""
    helper = onnx.helper
    shapes = {"x": ["n", 3, 8, 8], "y": ["n", "c", "h", "w"]}
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    held = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in (constants or {}).items()]
    made = helper.make_graph(nodes, "net", ends[:1], ends[1:], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(kind, *inputs, outputs=("y",), **settings):
    return onnx.helper.make_node(kind, list(inputs), list(outputs), **settings)


@pytest.mark.parametrize("opset", [11, 14, NEWEST])
def test_a_known_set_is_left_as_it_is(opset):
    proto = graph([node("ReduceMean", "x", axes=[2, 3])], opset=opset)
    before = proto.SerializeToString()
    assert in_known_version(proto).SerializeToString() == before


def test_axes_of_a_reduction_become_its_setting():
    proto = graph([node("ReduceMean", "x", "axes", keepdims=0)], opset=18, constants={"axes": [2, 3]})
    found = in_known_version(proto).graph.node[0]
    assert list(found.input) == ["x"]
    settings = {each.name: onnx.helper.get_attribute_value(each) for each in found.attribute}
    assert settings == {"axes": [2, 3], "keepdims": 0}
    assert proto.opset_import[0].version == NEWEST


def test_axes_of_a_sum_stay_an_input():
    proto = graph([node("ReduceSum", "x", "axes")], opset=18, constants={"axes": [2, 3]})
    assert list(in_known_version(proto).graph.node[0].input) == ["x", "axes"]


def test_the_number_of_parts_of_a_split_is_left_out():
    parts = node("Split", "x", outputs=("a", "b"), axis=1, num_outputs=2)
    proto = in_known_version(graph([parts, node("Add", "a", "b")], opset=18))
    assert [each.name for each in proto.graph.node[0].attribute] == ["axis"]


@pytest.mark.parametrize(
    "newer",
    [
        lambda: node("Mish", "x"),
        lambda: node("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2]),
    ],
    ids=["an operator", "a setting"],
)
def test_what_the_known_set_does_not_have_is_refused(newer):
    with pytest.raises(onnx.checker.ValidationError):
        in_known_version(graph([newer()], opset=20))


def test_a_new_operator_is_named(tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(graph([node("Mish", "x")], opset=18), str(file))
    with pytest.raises(ModelError, match=r"onnx2torch cannot convert it \(it does not know the operator Mish"):
        onnx_module(file)


def test_weights_that_a_file_has_once_reach_every_layer(tmp_path):
    network = small()
    for part in network:
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.bias, 0.25)
    network[1] = nn.Identity()
    file = export(network, tmp_path / "net.onnx")
    assert "Identity" in [each.op_type for each in onnx.load(str(file)).graph.node]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(onnx_module(file)(images), network(images))


def test_copies_of_copies_lead_to_the_first():
    nodes = [
        node("Identity", "w", outputs=("a",)),
        node("Identity", "a", outputs=("b",)),
        node("Identity", "x", outputs=("c",)),
        node("Add", "b", "c"),
    ]
    kept = without_copies(graph(nodes, opset=14, constants={"w": np.float32(1)})).graph.node
    assert [(each.op_type, list(each.input)) for each in kept] == [("Identity", ["x"]), ("Add", ["w", "c"])]
