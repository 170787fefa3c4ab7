"""A small pen for ONNX graphs: nodes in the order they run, constants beside them, the same bytes every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: Old enough for every onnxruntime that hatserve takes, new enough for all that is drawn here.
OPSET = 17
IR_VERSION = 8


class Graph:
    """A graph with one path; every method adds a node and returns the name of its output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def conv(
        self, source: str, name: str, weights: NDArray[Any], bias: NDArray[Any], *, stride: int = 1, groups: int = 1
    ) -> str:
        """Add a convolution that pads as TensorFlow's SAME does, for inputs of even size."""
        kernel = weights.shape[2]
        total = kernel - stride
        before, after = total // 2, total - total // 2
        return self.node(
            "Conv",
            [source, self.constant(f"{name}.weight", weights), self.constant(f"{name}.bias", bias)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=groups,
        )

    def relu6(self, source: str) -> str:
        limits = [self.constant("zero", np.asarray(0, np.float32)), self.constant("six", np.asarray(6, np.float32))]
        return self.node("Clip", [source, *limits])

    def serialise(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], licence: str
    ) -> bytes:
        """Return the model: the same bytes for the same graph, whatever the versions of onnx and protobuf."""
        graph = helper.make_graph(self._nodes, self.name, inputs, outputs, list(self._constants.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hatfleet"
        )
        helper.set_model_props(model, {"licence": licence})
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def tensor(name: str, dtype: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """Describe an input or output; a size that is a word may be any."""
    return helper.make_tensor_value_info(name, getattr(TensorProto, dtype), list(shape))
