"""Python's garbage collector rests while SGLang is imported.

An import makes a million objects that stay, and next to nothing that goes, yet the collector
looks through all of them again and again: a quarter of the CPU time of the import.  A server is
three processes or more, each of which imports SGLang.

`rest` comes first in every process, before SGLang is imported; `resume` once it is.  Without the
second half the collector runs, only rarely.  What is alive at `resume` is frozen (`gc.freeze`):
modules stay until the process ends, and a collection while serving need not look at them.
"""

from __future__ import annotations

import gc

RARE = 2_000_000
"""New objects before a collection, more than the import makes."""
_resting: tuple[int, int, int] | None = None
_own = gc.get_threshold()


def rest() -> None:
    """Collect rarely from now on.  Harmless when called again."""
    global _resting, _own
    if _resting is None:
        _own = gc.get_threshold()
        _resting = (RARE, *_own[1:])
        gc.set_threshold(*_resting)


def resume() -> None:
    """Collect as before `rest`, but for what is alive by now; nothing without a `rest`.

    Thresholds that somebody else has set in between stay.
    """
    global _resting
    if _resting is None:
        return
    gc.freeze()
    if gc.get_threshold() == _resting:
        gc.set_threshold(*_own)
    _resting = None
