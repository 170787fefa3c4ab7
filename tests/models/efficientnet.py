"""EfficientNet-Lite0, trained on ImageNet, from its PyTorch checkpoint into ONNX.

The network takes what a camera gives and the accelerator takes: 224 by 224 pixels, RGB, bytes, pixel by pixel. What
brings them to the range it was trained on, (x - 127) / 128, is part of the graph. Batch normalisation is in the
weights. Padding is that of TensorFlow, where the weights come from, as an attribute of each convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.graph import Graph, tensor

#: Blocks whose first pixel step is two (the paper's table 1: stages that halve the picture).
HALVING = frozenset({1, 3, 5, 11})
BLOCKS = 16

#: The epsilon of TensorFlow's EfficientNet.
EPSILON = 1e-3

Tensors = Mapping[str, NDArray[Any]]


def convert(tensors: Tensors) -> bytes:
    """Return the ONNX model of a checkpoint's tensors: input ``image``, output ``probabilities`` of 1000 classes."""
    graph = Graph("efficientnet-lite0")
    # Dividing by 128 is exact, so it may as well be in the weights; subtracting is not the padding's business, so not.
    stem = {**tensors, "_conv_stem.weight": tensors["_conv_stem.weight"] / np.float32(128)}
    floats = graph.node("Cast", ["image"], to=1)
    centred = graph.node("Sub", [floats, graph.constant("middle", np.asarray(127, np.float32))])
    at = graph.node("Transpose", [centred], perm=[0, 3, 1, 2])
    at = graph.relu6(_normalised(graph, stem, at, "_conv_stem", "_bn0", stride=2))
    for number in range(BLOCKS):
        at = _block(graph, tensors, at, number)
    at = graph.relu6(_normalised(graph, tensors, at, "_conv_head", "_bn1"))
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [at])])
    scores = graph.node(
        "Gemm",
        [
            pooled,
            graph.constant("_fc.weight", tensors["_fc.weight"]),
            graph.constant("_fc.bias", tensors["_fc.bias"]),
        ],
        transB=1,
    )
    graph.node("Softmax", [scores], "probabilities", axis=1)
    return graph.serialise(
        [tensor("image", "UINT8", (1, 224, 224, 3))], [tensor("probabilities", "FLOAT", (1, 1000))], "Apache-2.0"
    )


def _block(graph: Graph, tensors: Tensors, source: str, number: int) -> str:
    """Add an inverted bottleneck: widen, convolve each channel by itself, narrow; and add what came in, if it fits."""
    name, at = f"_blocks.{number}", source
    if f"{name}._expand_conv.weight" in tensors:
        at = graph.relu6(_normalised(graph, tensors, at, f"{name}._expand_conv", f"{name}._bn0"))
    stride = 2 if number in HALVING else 1
    depthwise = f"{name}._depthwise_conv"
    groups = len(tensors[f"{depthwise}.weight"])
    at = graph.relu6(_normalised(graph, tensors, at, depthwise, f"{name}._bn1", stride=stride, groups=groups))
    at = _normalised(graph, tensors, at, f"{name}._project_conv", f"{name}._bn2")
    first = tensors.get(f"{name}._expand_conv.weight")
    came_in = groups if first is None else first.shape[1]
    if stride == 1 and came_in == len(tensors[f"{name}._project_conv.weight"]):
        return graph.node("Add", [at, source])
    return at


def _normalised(
    graph: Graph, tensors: Tensors, source: str, conv: str, norm: str, *, stride: int = 1, groups: int = 1
) -> str:
    """Add a convolution with the batch normalisation that follows it, both in one."""
    mean, variance, scale, shift = (
        tensors[f"{norm}.{part}"].astype(np.float64) for part in ("running_mean", "running_var", "weight", "bias")
    )
    # In double precision, where every operation is rounded the same way on every machine.
    factor = scale / np.sqrt(variance + EPSILON)
    weights = (tensors[f"{conv}.weight"] * factor[:, None, None, None]).astype(np.float32)
    bias = (shift - mean * factor).astype(np.float32)
    return graph.conv(source, conv, weights, bias, stride=stride, groups=groups)
