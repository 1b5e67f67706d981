"""Folders of the dead are removed, those of the living are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lastsam_jobs.scratch import scratch, sweep

HOLD = """
import sys, time
from pathlib import Path
from lastsam_jobs.scratch import scratch
with scratch(Path(sys.argv[1]), "convert-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_it_is_gone_after_its_block(tmp_path: Path) -> None:
    with scratch(tmp_path / "made", "convert-") as folder:
        (folder / "inner").mkdir()
        assert folder.name.startswith("convert-")
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_a_killed_process_leaves_one_and_the_next_sweep_takes_it(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    held = Path(child.stdout.readline().strip())
    kept = tmp_path / "other"
    kept.mkdir()
    try:
        with scratch(tmp_path, "convert-") as mine:
            assert sweep(tmp_path, "convert-") == 0
            assert mine.exists()
            assert held.exists()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert held.exists()
    assert sweep(tmp_path, "convert-") == 1
    assert list(tmp_path.iterdir()) == [kept]


def test_what_is_no_folder_of_ours_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "convert-link").symlink_to(target)
    (tmp_path / "convert-file").write_text("mine")
    assert sweep(tmp_path, "convert-") == 0
    assert sweep(tmp_path / "absent", "convert-") == 0
    assert len(list(tmp_path.iterdir())) == 3
