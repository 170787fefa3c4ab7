"""Models of a few kilobytes: for tests that need a model rather than a good one, and for many runs on a slow device."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.graph import Graph, tensor

#: Pixels on a side, and classes, of the tiny ONNX model.
SIDE, CLASSES = 16, 10


def onnx_model() -> bytes:
    """Return a convolution and a dense layer with weights from a fixed seed: input ``image``, any number of them."""
    numbers = random.Random(20240229)
    graph = Graph("tiny")
    floats = graph.node("Cast", ["image"], to=1)
    at = graph.node("Transpose", [floats], perm=[0, 3, 1, 2])
    at = graph.relu6(graph.conv(at, "conv", _weights(numbers, 8, 3, 3, 3) / 128, _weights(numbers, 8), stride=2))
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [at])])
    dense = [
        graph.constant("dense.weight", _weights(numbers, 8, CLASSES)),
        graph.constant("bias", _weights(numbers, 10)),
    ]
    graph.node("Softmax", [graph.node("Gemm", [pooled, *dense])], "probabilities", axis=1)
    return graph.serialise(
        [tensor("image", "UINT8", ("images", SIDE, SIDE, 3))],
        [tensor("probabilities", "FLOAT", ("images", CLASSES))],
        "Apache-2.0",
    )


def _weights(numbers: random.Random, *shape: int) -> NDArray[Any]:
    # Python promises the same numbers for a seed for ever, NumPy does not.
    values = [numbers.random() * 2 - 1 for _ in range(int(np.prod(shape)))]
    return np.asarray(values, np.float32).reshape(shape)


def tflite_model(width: int = 4) -> bytes:
    """Return ``total = left + right`` for rows of ``width`` float numbers; a call may bring any number of rows."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def named(name: str, buffer: int) -> Any:
        made = schema.TensorT()
        made.name, made.buffer, made.type = name.encode(), buffer, schema.TensorType.FLOAT32
        made.shape, made.shapeSignature = [1, width], [-1, width]
        return made

    add = schema.OperatorT()
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 1], [2]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [named("left", 1), named("right", 2), named("total", 3)]
    graph.inputs, graph.outputs, graph.operators = [0, 1], [2], [add]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    model = schema.ModelT()
    model.version, model.description = 3, b"tiny"
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(4)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
