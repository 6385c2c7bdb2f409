"""The entry point that SGLang calls in every process, first thing.

Without `CACHEPAWL_CONFIG` in the environment nothing is registered or imported: a
plain `sglang.launch_server` behaves as if cachepawl were not installed.

SGLang logs what a plugin raises and goes on without it.  That must not happen to a
server that was asked for cachepawl, so what is wrong here ends the process.
"""

from __future__ import annotations

import os
import sys

from cachepawl import collector
from cachepawl.config import ENVIRONMENT, options_from_environment
from cachepawl.errors import CachepawlError
from cachepawl_launch.cpu.platform_name import selected


def register() -> None:
    """Put the patches in place that the options ask for."""
    try:
        if selected():
            from cachepawl_launch.cpu import hooks

            hooks.register()
        if os.environ.get(ENVIRONMENT):
            _register_cachepawl()
        collector.resume()  # SGLang is imported by now
    except Exception as error:
        expected = isinstance(error, CachepawlError)
        print(f"cachepawl: {error if expected else repr(error)}", file=sys.stderr, flush=True)
        raise SystemExit(3) from error


def _register_cachepawl() -> None:
    from cachepawl_launch.install import install

    options = options_from_environment()
    assert options is not None
    install(options)
