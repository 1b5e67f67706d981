"""Augmentations on the device, whole batches at once: what is random is drawn for an epoch, then looked up by image."""

from __future__ import annotations

from lastsam_core.data.augment.pipeline import Chance, draw

__all__ = ["Chance", "draw"]
