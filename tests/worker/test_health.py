"""What a container asks: can this worker reach its database and its broker?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def ask(**settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LASTSAM_")}
    environment = kept | {f"LASTSAM_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "worker.health"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_well_when_both_answer(tmp_path: Path, database_url: str, valkey_url: str) -> None:
    answer = ask(home=str(tmp_path), database_url=database_url, broker_url=valkey_url)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_says_which_one_does_not(tmp_path: Path, sqlite_url: str, valkey_url: str) -> None:
    gone = "redis+socket://" + str(tmp_path / "gone.sock")
    answer = ask(home=str(tmp_path), database_url=sqlite_url, broker_url=gone)
    assert answer.returncode == 1
    assert "gone.sock" in answer.stderr
    answer = ask(home=str(tmp_path), database_url="postgresql://nobody@127.0.0.1:1/none", broker_url=valkey_url)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
