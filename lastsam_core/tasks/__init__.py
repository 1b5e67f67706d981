"""What a network is trained to do: how a batch becomes a loss and a count of what was right.

The phase knows batches and losses only; whether they are images or sentences is said here, once for each task.
"""

from __future__ import annotations

from lastsam_core.tasks.classification import Classification
from lastsam_core.tasks.interface import Batches, Scored, Task

__all__ = ["Batches", "Classification", "Scored", "Task"]
