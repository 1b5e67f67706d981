from __future__ import annotations

import os
from pathlib import Path

import pytest

from lastsam_core.data.folders import counted, is_folder, listed
from lastsam_core.errors import BadDataset


def laid_out(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            (root / path).write_bytes(path.encode())
    return root


GOOD = ("train/b/2.png", "train/b/10.JPG", "train/a/x.jpeg", "test/b/1.png")


def test_images_come_by_class_and_name(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "d", *GOOD, "train/b/notes.txt", "train/b/.hidden.png", "train/.cache/1.png", "train/x")
    found = listed(root)
    assert found.classes == ("a", "b")
    assert [(image.path, image.label) for image in found.train] == [
        ("train/a/x.jpeg", 0),
        ("train/b/10.JPG", 1),
        ("train/b/2.png", 1),
    ]
    assert [(image.path, image.label) for image in found.test] == [("test/b/1.png", 1)]
    assert found.train[0].size == len("train/a/x.jpeg")
    assert found.train[0].mtime_ns == os.stat(root / "train/a/x.jpeg").st_mtime_ns
    assert counted(root) == (3, 1, 2)


def test_val_serves_where_there_is_no_test(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "d", *GOOD[:3], "val/a/1.png", "val/a/2.png")
    assert counted(root) == (3, 2, 2)
    laid_out(root, "test/b/1.png")
    assert listed(root).test[0].path == "test/b/1.png"


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (GOOD[:3], "no test images"),
        ((*GOOD[:3], "test/a/readme.txt"), "no test images"),
        (GOOD[:2] + GOOD[3:], "fewer than two classes"),
        ((*GOOD, "test/c/1.png"), "test/c is no class of train/"),
        ((*GOOD, "train/c/readme.txt"), "train/c has no image"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, paths: tuple[str, ...], sentence: str) -> None:
    root = laid_out(tmp_path / "d", *paths)
    for look in (listed, counted):
        with pytest.raises(BadDataset, match=sentence) as caught:
            look(root)
        assert caught.value.hint


def test_only_what_has_a_train_folder_is_meant(tmp_path: Path) -> None:
    assert is_folder(laid_out(tmp_path / "d", *GOOD))
    assert not is_folder(laid_out(tmp_path / "e", "photos/1.png"))
    assert not is_folder(tmp_path / "nowhere")
