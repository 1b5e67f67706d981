"""The `lastsam` command, however early it is interrupted: a Ctrl-C while it still loads leaves quietly, too."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Load the commands and run the one in sys.argv; ends the process."""
    try:
        from lastsam.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
