"""`python -m cachepawl_launch.demo`.  Light, so that Ctrl-C is understood from the first moment."""

from __future__ import annotations

import signal
import sys

INTERRUPTED = 130


def main() -> int:
    """Run the demo; returns the exit code."""
    # A shell that starts a job in the background makes it ignore Ctrl-C: not this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from cachepawl_launch.demo.run import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # Nothing is left to stop; Python's own way out would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
