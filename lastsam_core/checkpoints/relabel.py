"""A checkpoint under the names of another architecture whose tensors it fits as well.

Shapes cannot always tell two functions apart (`Layout.alternatives`); this is how the other reading is taken up.
"""

from __future__ import annotations

from lastsam_core.checkpoints.layout import Layout
from lastsam_core.checkpoints.recognise import recognise

__all__ = ["as_architecture"]


def as_architecture(layout: Layout, arch: str) -> Layout:
    """The layout of the same file, read as a checkpoint of `arch`; the tensors stay in their order.

    UnknownArchitecture where there is none of that name; ArchitectureMismatch where the tensors do not fit it.
    """
    if arch == layout.arch:
        return layout
    found = recognise({entry.key: entry.shape for entry in layout.tensors}, arch, layout.num_classes)
    canonical = {key: name for name, key in found.mapping.items()}
    others = dict.fromkeys((layout.arch, *layout.alternatives))
    return layout.model_copy(
        update={
            "arch": arch,
            "prefix": found.prefix,
            "convention": found.convention,
            "tensors": tuple(e.model_copy(update={"canonical": canonical[e.key]}) for e in layout.tensors),
            "alternatives": tuple(name for name in others if name != arch),
            "ema": layout.ema and as_architecture(layout.ema, arch),
        }
    )
