"""A fake of HailoRT's Python package: its names and rules, with a chip that computes on the processor.

It has what hatserve uses and nothing that the real one has not: tests hold it to tests/fakes/hailo_contract.json.
"""

from hailo_platform.pyhailort.pyhailort import (
    HEF,
    AsyncInferJob,
    FormatOrder,
    FormatType,
    HailoRTException,
    HailoSchedulingAlgorithm,
    VDevice,
)

__version__ = "5.2.0"
__all__ = [
    "HEF",
    "AsyncInferJob",
    "FormatOrder",
    "FormatType",
    "HailoRTException",
    "HailoSchedulingAlgorithm",
    "VDevice",
]
