"""The launcher inside the child; tests/service/test_converter.py tries its limits out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service import box_child


def test_it_becomes_the_module_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text("import sys; print(__name__, *sys.argv[1:]); sys.exit(3)")
    limits = [str(2**31), "5", "1000000", "64"]
    command = [sys.executable, "-I", box_child.__file__, str(tmp_path), *limits, "said", "a", "b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "__main__ a b\n")
