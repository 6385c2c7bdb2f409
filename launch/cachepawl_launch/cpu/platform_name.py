"""The name of this platform, importable without SGLang."""

import os

PLATFORM_NAME = "cachepawl_cpu"


def selected() -> bool:
    """Whether ``SGLANG_PLATFORM`` names this platform."""
    return os.environ.get("SGLANG_PLATFORM") == PLATFORM_NAME
