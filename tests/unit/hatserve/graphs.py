"""ONNX models that no converter makes: each is wrong, or odd, in one way."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

#: Numbers in weights that are kept apart; of few, onnxruntime makes a constant before it looks for the file.
SIZE = 4096


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "odd", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def with_weights_in(file: str, *, in_node: bool = False) -> bytes:
    """Return ``y = x + w`` for SIZE numbers, with w in another file."""
    weights = numpy_helper.from_array(np.zeros(SIZE, np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": file, "offset": "0", "length": str(4 * SIZE)}.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    constants, nodes = ([], [helper.make_node("Constant", [], ["w"], value=weights)]) if in_node else ([weights], [])
    both = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE]) for name in "xy"]
    return _model([*nodes, helper.make_node("Add", ["x", "w"], ["y"])], both[:1], both[1:], constants)


def that_fills() -> bytes:
    """Return a model that makes zeros of whatever shape it is told."""
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, ["axes"])
    zeros = helper.make_tensor_value_info("zeros", TensorProto.FLOAT, ["rows", "columns"])
    return _model([helper.make_node("ConstantOfShape", ["shape"], ["zeros"])], [shape], [zeros], [])


def of_words() -> bytes:
    """Return a model whose input and output are words."""
    words = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in "xy"]
    return _model([helper.make_node("Identity", ["x"], ["y"])], words[:1], words[1:], [])


def of_a_list() -> bytes:
    """Return a model whose output is a list of tensors."""
    numbers = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    several = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    return _model([helper.make_node("SequenceConstruct", ["x"], ["y"])], [numbers], [several], [])


def of_an_unknown_operator() -> bytes:
    """Return a model with an operator that nobody has."""
    two = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    return _model([helper.make_node("Frobnicate", ["x"], ["y"])], two[:1], two[1:], [])
