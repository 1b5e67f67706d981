"""Rows as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime

from lastsam_jobs.tables import Checkpoint
from service.schemas import CheckpointView


def test_names_out_of_a_file_are_printable_and_old_layouts_are_shown() -> None:
    row = Checkpoint(
        id="ckpt_01JD00000000000000000000AB",
        filename="n.th",
        sha256="0" * 64,
        size=1,
        arch="resnet20-a",
        num_classes=10,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        layout={"container": "zip", "companions": ["a\x1b[2J", "\ud800"]},
    )
    shown = CheckpointView.of(row, root="/proxy").model_dump(mode="json")
    assert shown["recognised"]["companions"] == ["a\N{REPLACEMENT CHARACTER}[2J", "\N{REPLACEMENT CHARACTER}"]
    assert shown["urls"]["self"] == "/proxy/checkpoints/ckpt_01JD00000000000000000000AB"
    assert shown["created_at"] == "2026-01-02T00:00:00Z"
