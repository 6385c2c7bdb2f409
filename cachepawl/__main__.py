"""`python -m cachepawl`: the commands that need no GPU."""

from cachepawl.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
