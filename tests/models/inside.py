"""A TFLite model that gives out what its last layer is given: many numbers to compare, where its own output is one."""

from __future__ import annotations

from typing import Any


def reveal(data: bytes) -> bytes:
    """Return the model with the inputs of its last dense layer as its output; nothing else of it is changed.

    Raises:
        ValueError: it has not one output, or no dense layer.
    """
    from ai_edge_litert import schema_py_generated as schema

    changed = bytearray(data)
    model = schema.Model.GetRootAs(changed, 0)
    graph = model.Subgraphs(0)
    outputs = graph.OutputsAsNumpy()
    dense = [one for one in _operators(graph) if _code(model, one) == schema.BuiltinOperator.FULLY_CONNECTED]
    if len(outputs) != 1 or not dense:
        raise ValueError("the model has not one output behind a dense layer")
    # A view into the bytes: the file stays as it is but for this number.
    outputs[0] = dense[-1].Inputs(0)
    return bytes(changed)


def _operators(graph: Any) -> list[Any]:
    return [graph.Operators(number) for number in range(graph.OperatorsLength())]


def _code(model: Any, operator: Any) -> int:
    return int(model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode())
