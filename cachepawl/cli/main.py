"""Runs a command; whatever is wrong is one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from cachepawl.cli.app import app
from cachepawl.errors import CachepawlError, GateFailed

GATE_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program; returns the exit code: 0 fine, 1 a gate failed, 2 bad input or usage."""
    try:
        # Not `app.main`, which answers a closed pipe with the code of a failed gate.
        words = list(sys.argv[1:] if argv is None else argv)
        with app.make_context("cachepawl", words) as context:
            app.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:
        sys.stdout.flush()
        return done.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _say(_usage(error), BAD_INPUT)
    except GateFailed as error:
        return _say(str(error), GATE_FAILED)
    except CachepawlError as error:
        return _say(str(error), BAD_INPUT)
    except BrokenPipeError:
        # The reader has seen enough, as `head` has.
        _drop_output()
        return 0
    except OSError as error:
        # Standard output on a full disk, among others.
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return _say(f"{error.filename or 'output'}: {error.strerror or error}", BAD_INPUT)


def _drop_output() -> None:
    """Nothing more is written at exit, where Python would try once more and end with code 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: click.ClickException) -> str:
    text = error.format_message().replace("\n", " ")
    ctx = getattr(error, "ctx", None)
    return f"{text} See '{ctx.command_path} --help'." if ctx is not None else text


def _say(text: str, code: int) -> int:
    print(f"cachepawl: {' '.join(text.split())}", file=sys.stderr)
    return code
