"""What a launcher raises before anything runs on the device."""

from __future__ import annotations


class KernelArgumentError(ValueError):
    """Arguments that a kernel must not be launched with.

    One line: which argument, its value, the limit.  Nothing was launched and nothing changed.
    """
