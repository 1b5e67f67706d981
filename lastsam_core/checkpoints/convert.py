"""The child process that reads an uploaded file: opens what it needs, locks itself in, and only then reads.

`python -m lastsam_core.checkpoints.convert --arch auto [--num-classes N] IN OUT.safetensors OUT.json`

Exit status 0: OUT.safetensors holds the tensors under canonical names, dtypes as uploaded, and beside them what
canonical.py found worth keeping (averaged weights, the optimizer's buffers) under prefixed ones; OUT.json is
`{"ok": true, "layout", "tensors", "bytes", "notes", "boxed"}`. Exit status 2: the file was refused, and OUT.json is
`{"ok": false, "code", "message", "hint", "boxed"}`. Anything else (a limit of the parent's, a crash) leaves OUT.json
empty. With --require-box a system without seccomp gets exit status 3 and nothing is read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

from lastsam_core.checkpoints.box import lock
from lastsam_core.checkpoints.canonical import canonicalise
from lastsam_core.checkpoints.read import map_file, read_checkpoint
from lastsam_core.checkpoints.safetensors_file import write_safetensors
from lastsam_core.errors import CheckpointError, CoreError
from lastsam_core.models.registry import recognisable, tensor_shapes

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the conversion; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lastsam_core.checkpoints.convert")
    parser.add_argument("--arch", default="auto")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--require-box", action="store_true")
    parser.add_argument("source")
    parser.add_argument("weights")
    parser.add_argument("report")
    options = parser.parse_args(arguments)
    for name in recognisable():
        tensor_shapes(name)  # reads shapes.json and plug-ins, which cannot be opened later
    with (
        open(options.source, "rb") as source,
        open(options.weights, "wb") as weights,
        open(options.report, "w") as report,
    ):
        try:
            data = map_file(source.fileno())
        except CoreError as error:
            json.dump({**_refusal(error), "boxed": False}, report)
            return 2
        boxed = lock()
        if options.require_box and not boxed:
            return 3
        try:
            answer = _convert(data, weights, options.arch, options.num_classes)
        except CoreError as error:
            answer = _refusal(error)
        except MemoryError:
            answer = None
        if answer is None:  # only here, where the frames that hold the memory are gone, is there room for an answer
            hint = "Save the weights alone, torch.save(model.state_dict(), path)."
            answer = _refusal(CheckpointError("Reading the file takes more memory than is allowed.", hint=hint))
        json.dump({**answer, "boxed": boxed}, report)
        return 0 if answer["ok"] else 2


def _convert(data: memoryview, weights: BinaryIO, arch: str, num_classes: int | None) -> dict[str, Any]:
    checkpoint = canonicalise(read_checkpoint(data), arch, num_classes)
    written = write_safetensors(weights, {**checkpoint.tensors, **checkpoint.extras}, {"lastsam": "1"})
    return {
        "ok": True,
        "layout": checkpoint.layout.model_dump(mode="json"),
        "tensors": len(checkpoint.tensors),
        "bytes": written,
        "notes": list(checkpoint.notes),
    }


def _refusal(error: CoreError) -> dict[str, Any]:
    return {"ok": False, "code": error.code, "message": error.message, "hint": error.hint}


if __name__ == "__main__":
    sys.exit(main())
