"""``hatserve run``: does a model run here, what comes out, and how long does it take?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatserve.errors import UsageError

if TYPE_CHECKING:
    from hatserve.trial import Trial

ABOUT = "Load an ONNX, TFLite or HEF file, run it, and tell what came out and how long it took."
EXAMPLES = """\
examples:
  hatserve run model.onnx                                   made-up inputs, the same every time
  hatserve run model.onnx --input image=photo.npy           an input from a file that numpy.save wrote
  hatserve run model.tflite --repeat 200 --json             latencies, for a machine to read
  hatserve run model.hef --format scores=uint8              an output as the accelerator gives it

The file's content decides what runs it. Nothing is verified here: this is a tool to try a model with, not the service.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model file")
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE", help="an input, from a .npy file; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the inputs that are made up (0)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how often it runs (1)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of one inference (1; ONNX, TFLite)"
    )
    parser.add_argument("--spinning", action="store_true", help="waiting threads turn instead of sleeping (ONNX)")
    parser.add_argument("--delegate", metavar="NAME", help="edgetpu: run on a Coral accelerator (TFLite)")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="NAME=TYPE",
        help="type of an output: uint8, uint16, float32 (HEF)",
    )
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write the outputs there, as .npy files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from hatserve import trial
    from hatserve.backends.model import Options

    options = Options(
        threads=arguments.threads,
        spinning=arguments.spinning,
        delegate=arguments.delegate,
        formats=_pairs("--format", arguments.format),
    )
    files = {name: Path(file) for name, file in _pairs("--input", arguments.input).items()}
    found = trial.conduct(arguments.model, files, options, seed=arguments.seed, repeat=arguments.repeat)
    paths = trial.save(found.outputs, arguments.output_dir) if arguments.output_dir else {}
    report = _report(found, paths)
    print(json.dumps(report, indent=2) if arguments.json else _text(report))
    return 0


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        # Names of tensors may have an equals sign in them, names of files and types rarely do.
        name, equals, value = word.rpartition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} takes NAME=VALUE, not {word!r}")
        pairs[name] = value
    return pairs


def _report(found: Trial, paths: dict[str, Path]) -> dict[str, Any]:
    from hatserve.trial import percentiles

    outputs = []
    for name, value in found.outputs.items():
        # A detector may have found nothing.
        largest = int(value.argmax()) if value.size else None
        file = {"file": str(paths[name])} if paths else {}
        outputs.append({**_tensor(name, value), "argmax": largest, **file})
    return {
        "model": str(found.model),
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "backend": found.backend,
        "runtime": found.runtime,
        "inputs": [_tensor(name, value) for name, value in found.inputs.items()],
        "outputs": outputs,
        "loading_ms": round(found.loading_ms, 3),
        "runs": len(found.latencies_ms),
        "latency_ms": {name: round(value, 3) for name, value in percentiles(found.latencies_ms).items()},
    }


def _tensor(name: str, value: Any) -> dict[str, Any]:
    from hatserve.trial import digest

    return {"name": name, "dtype": str(value.dtype), "shape": list(value.shape), "sha256": digest(value)}


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"model    {report['model']}: {report['size_bytes']} bytes, sha256 {report['sha256']}",
        f"runtime  {report['runtime']}",
    ]
    for kind in ("inputs", "outputs"):
        for one in report[kind]:
            shape = " x ".join(map(str, one["shape"])) or "one number"
            largest = f", largest at {one['argmax']}" if one.get("argmax") is not None else ""
            file = f", in {one['file']}" if "file" in one else ""
            lines.append(
                f"{kind[:-1]:<8} {one['name']}: {one['dtype']}, {shape}, sha256 {one['sha256'][:16]}{largest}{file}"
            )
    latency = "  ".join(f"{name} {value:g} ms" for name, value in report["latency_ms"].items())
    return "\n".join([*lines, f"loading  {report['loading_ms']:g} ms", f"latency  {latency}  of {report['runs']} runs"])
