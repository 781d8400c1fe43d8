"""Activations that an ONNX file has written out in parts are put together again.

A file has ``x · sigmoid(x)`` where the network had ``SiLU``, and five operators where it had ``GELU``. They are
recognised by what they compute, not by how they are written.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

ACTIVATIONS: Mapping[str, Any] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "mish": nn.Mish,
}
"""Activations for which ONNX has no operator, or has had none for long."""

_PARTS = frozenset(
    {
        "OnnxBinaryMathOperation",
        "OnnxClip",
        "OnnxConstant",
        "OnnxErf",
        "OnnxFunction",
        "OnnxHardSigmoid",
        "OnnxPow",
        "OnnxPowElementWise",
        "OnnxReciprocal",
        "OnnxNeg",
        "ReLU6",
        "Sigmoid",
        "Softplus",
    }
)
"""Modules of onnx2torch that work on each value alone."""

_LONGEST = 12
"""Operators that an activation is written with, at most."""


class _NoPartError(Exception):
    """A graph's node is not a part of an activation."""


def write_out_gelu(proto: Any) -> Any:
    """A network whose ``Gelu`` operators are written out, since neither converter knows this one. Others stay.

    Args:
        proto: as ``onnx.load`` gives it. It is changed.
    """
    nodes = [part for node in proto.graph.node for part in (_gelu(node) if node.op_type == "Gelu" else (node,))]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


_NUMBERS = {"half": 0.5, "one": 1.0, "scale": 0.5**0.5, "slope": (2 / math.pi) ** 0.5, "cubic": 0.044715}
_ERF = (("Mul", "x", "scale", "inner"), ("Erf", "inner", "bent"))
_TANH = (
    ("Mul", "x", "x", "square"),
    ("Mul", "x", "square", "cube"),
    ("Mul", "cube", "cubic", "small"),
    ("Add", "x", "small", "sum"),
    ("Mul", "sum", "slope", "inner"),
    ("Tanh", "inner", "bent"),
)
_END = (("Add", "bent", "one", "gate"), ("Mul", "x", "gate", "double"), ("Mul", "double", "half", "y"))


def _gelu(node: Any) -> Iterator[Any]:
    """The operators of ½ x (1 + erf(x / √2)), or of its approximation ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    from onnx import TensorProto, helper

    (x,), (y,) = node.input, node.output
    names = {"x": x, "y": y}
    for each, value in _NUMBERS.items():
        number = helper.make_tensor("", TensorProto.FLOAT, [], [value])
        yield helper.make_node("Constant", [], [f"{y}/{each}"], name=f"{y}/{each}", value=number)
    tanh = any(each.name == "approximate" and each.s == b"tanh" for each in node.attribute)
    for kind, *inputs, output in (*(_TANH if tanh else _ERF), *_END):
        named = [names.get(each, f"{y}/{each}") for each in inputs]
        yield helper.make_node(kind, named, [names.get(output, f"{y}/{output}")], name=f"{y}/{output}")


def join_activations(module: fx.GraphModule) -> fx.GraphModule:
    """Puts one module of PyTorch where several operators are an activation. The network computes the same as before."""
    graph = module.graph
    found = 0
    for node in list(graph.nodes):
        joined = _activation_at(node, module)
        if joined is None:
            continue
        kind, start = joined
        name = f"{kind}_{found}"
        module.add_module(name, ACTIVATIONS[kind]())
        with graph.inserting_after(node):
            put = graph.call_module(name, (start,))
        node.replace_all_uses_with(put)
        found += 1
    if found:
        graph.eliminate_dead_code()
        module.delete_all_unused_submodules()
        module.recompile()
    return module


def without_softmax(module: fx.GraphModule) -> fx.GraphModule:
    """Leaves out a softmax whose result is the network's: its scores are needed."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    last = output.args[0]
    if isinstance(last, fx.Node) and _kind(last, module) in ("Softmax", "OnnxSoftmaxV1V11"):
        output.replace_input_with(last, last.args[0])
        module.graph.eliminate_dead_code()
        module.recompile()
    return module


def _kind(node: fx.Node, module: fx.GraphModule) -> str:
    return type(module.get_submodule(str(node.target))).__name__ if node.op == "call_module" else ""


def _activation_at(node: fx.Node, module: fx.GraphModule) -> tuple[str, fx.Node] | None:
    """The activation whose last operator this is, and its input."""
    if _kind(node, module) != "OnnxBinaryMathOperation":
        return None
    for start in _above(node, module):
        try:
            values = _value(node, module, {start: _POINTS})
        except _NoPartError:
            continue
        for kind, make in ACTIVATIONS.items():
            if values.shape == _POINTS.shape and torch.allclose(values, make()(_POINTS), atol=1e-5, rtol=0):
                return kind, start
    return None


_POINTS = torch.linspace(-8, 8, 321)
"""Where two functions are compared."""


def _above(node: fx.Node, module: fx.GraphModule) -> Iterator[fx.Node]:
    """The nodes from which this one may be computed by a few parts, the nearest first."""
    seen, border = {node}, [node]
    for _ in range(_LONGEST):
        border = [each for part in border if _kind(part, module) in _PARTS for each in part.all_input_nodes]
        border = [each for each in dict.fromkeys(border) if each not in seen]
        seen.update(border)
        yield from border


def _value(node: fx.Node, module: fx.GraphModule, known: dict[fx.Node, Tensor]) -> Tensor:
    """What a node gives, by the values that are known. Anything else that it needs must be a single number."""
    if node not in known:
        known[node] = _computed(node, module, known)
    return known[node]


def _computed(node: fx.Node, module: fx.GraphModule, known: dict[fx.Node, Tensor]) -> Tensor:
    if node.op == "get_attr":
        stored = _attribute(module, str(node.target))
        if stored.numel() == 1:
            return stored.float().reshape(())
    if _kind(node, module) in _PARTS and not node.kwargs:
        arguments = [_value(each, module, known) for each in node.args if isinstance(each, fx.Node)]
        with torch.no_grad():
            found: Tensor = module.get_submodule(str(node.target))(*arguments)
        if arguments or found.numel() == 1:
            return found if arguments else found.float().reshape(())
    raise _NoPartError


def _attribute(module: nn.Module, path: str) -> Tensor:
    place, _, name = path.rpartition(".")
    stored: Tensor = getattr(module.get_submodule(place), name)
    return stored
