"""How flat the minimum is: measurements of a trained model that change nothing about it."""

from __future__ import annotations

from lastsam_core.flatness.sharpness import Sharpness, sharpness, sharpness_profile

__all__ = ["Sharpness", "sharpness", "sharpness_profile"]
