"""`python -m cachepawl.launch_server`: SGLang's server with cachepawl in it.

A thin door; the launcher itself is `cachepawl_launch.cli`.  Every process that the server spawns
runs this file as well, before it imports SGLang.
"""

from __future__ import annotations

import sys

from cachepawl import collector


def main() -> int:
    """Run the launcher; explains what to install when SGLang is missing."""
    try:
        from cachepawl_launch.cli import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("sglang", "torch", "triton"):
            raise
        print(
            f"cachepawl: {error.name} is not installed; serving needs it: "
            f'pip install "cachepawl[serve]"',
            file=sys.stderr,
        )
        return 2
    return run(sys.argv[1:])


if __name__ in ("__main__", "__mp_main__"):
    collector.rest()  # until `cachepawl_launch.plugin` is loaded
if __name__ == "__main__":
    sys.exit(main())
