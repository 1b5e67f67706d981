from __future__ import annotations

from lastsam_core.models.registry import SHAPES_FILE
from lastsam_core.models.shapes import describe


def test_the_file_is_what_the_models_say() -> None:
    assert SHAPES_FILE.read_text() == describe(), "run python -m lastsam_core.models.shapes"
