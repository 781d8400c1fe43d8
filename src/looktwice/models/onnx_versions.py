"""ONNX files of newer operator sets, and what exporters leave in files, in the form that the converter reads."""

from typing import Any

NEWEST = 17
"""The newest operator set that onnx2torch reads as a whole."""


def in_known_version(proto: Any) -> Any:
    """The same network in operator set 17 at most.

    A node that is also valid in set 17 means the same there. The few that only moved a setting are rewritten: the axes
    of reductions, which are an input since set 18, and the number of parts of ``Split``.

    Args:
        proto: as ``onnx.load`` gives it. It is changed.

    Raises:
        onnx.checker.ValidationError: it has an operator or a setting that set 17 does not have.
    """
    from onnx import checker

    newer = [each for each in proto.opset_import if each.domain in ("", "ai.onnx") and each.version > NEWEST]
    if newer:
        constants = _constants(proto)
        for node in proto.graph.node:
            if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
                _axes_as_attribute(node, constants)
            if node.op_type == "Split":
                _remove_attribute(node, "num_outputs")
        for each in newer:
            each.version = NEWEST
        checker.check_model(proto)
    return proto


def without_copies(proto: Any) -> Any:
    """Weights that a file has once for several layers, as ``Identity`` of the first, are taken from there directly.

    Args:
        proto: as ``onnx.load`` gives it. It is changed.
    """
    source = {each.name: each.name for each in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:
        if node.op_type == "Identity" and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
            continue
        for place, name in enumerate(node.input):
            node.input[place] = source.get(name, name)
        kept.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto


def _constants(proto: Any) -> dict[str, Any]:
    """The tensors in a file by their names."""
    nodes = {node.output[0]: node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"}
    return {**nodes, **{each.name: each for each in proto.graph.initializer}}


def _axes_as_attribute(node: Any, constants: dict[str, Any]) -> None:
    from onnx import helper, numpy_helper

    _remove_attribute(node, "noop_with_empty_axes")
    if len(node.input) < 2 or node.input[1] not in constants:
        return
    axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    del node.input[1:]
    node.attribute.append(helper.make_attribute("axes", axes))


def _remove_attribute(node: Any, name: str) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
