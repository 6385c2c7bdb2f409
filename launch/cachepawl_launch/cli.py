"""The launcher: SGLang's flags and ours, checks before anything is loaded, then the server.

Whatever is wrong is one line on stderr and exit code 2; no process is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cachepawl import __version__
from cachepawl.config import BACKEND, ENVIRONMENT
from cachepawl.errors import CachepawlError, ConfigError
from cachepawl.policy.joint import history
from cachepawl.record.parts import check_folder
from cachepawl_launch.cpu.flags import check_movement, platform_args, serve_env
from cachepawl_launch.cpu.platform_name import PLATFORM_NAME
from cachepawl_launch.flags import (
    check_host_flags,
    flag_names,
    options_of,
    parser,
    split_flags,
)

PLUGIN = "cachepawl"
USAGE_ERROR = 2


def main(argv: Sequence[str]) -> int:
    """Run the launcher; returns the exit code."""
    try:
        ours, theirs = split_flags(argv)
        if ours.help:
            return _help()
        prepare_environment(ours)
        return _launch(ours, theirs)
    except CachepawlError as error:
        print(f"cachepawl: {error}", file=sys.stderr)
        return USAGE_ERROR


def _help() -> int:
    parser().print_help()
    print("\nSGLang's flags follow.\n")
    from sglang.srt.server_args import prepare_server_args

    with contextlib.suppress(SystemExit):
        prepare_server_args(["--help"])
    return 0


# -- before SGLang is imported ---------------------------------------------------------


def prepare_environment(ours: argparse.Namespace) -> None:
    """Set what children inherit; ConfigError when they could not load the plugin."""
    options = options_of(ours)
    if options.trace is not None:
        check_folder(Path(options.trace))
    elif options.trace_salt is not None:
        raise ConfigError("--cachepawl-trace-salt: nothing is recorded; give --cachepawl-trace too")
    if options.policy_history is not None:
        history.check(Path(options.policy_history))
    check_host_flags(ours)
    if ours.cachepawl_cpu:
        check_movement(options.movement, os.environ.get("TRITON_INTERPRET", ""))
        os.environ.update(serve_env())
    allowed = os.environ.get("SGLANG_PLUGINS", "")
    if allowed and PLUGIN not in [name.strip() for name in allowed.split(",")]:
        raise ConfigError(
            f"SGLANG_PLUGINS={allowed} keeps SGLang from loading cachepawl; add {PLUGIN} "
            f"or unset it"
        )
    platform = os.environ.get("SGLANG_PLATFORM", "")
    if platform and platform != PLATFORM_NAME:
        raise ConfigError(
            f"SGLANG_PLATFORM={platform}: SGLang then loads no plugin of a package that brings "
            f"another platform, so cachepawl cannot be used with it; unset it"
        )
    _check_packages()
    os.environ[ENVIRONMENT] = options.model_dump_json()


def _check_packages() -> None:
    """ConfigError when SGLang would not find our plugin, or finds the wrong `kernels`."""
    from importlib.metadata import entry_points

    if PLUGIN not in entry_points(group="sglang.srt.plugins").names:
        raise ConfigError(
            "cachepawl is importable but not installed, so SGLang's processes will not load it; "
            'pip install "cachepawl[serve]" (or pip install -e . in a checkout)'
        )
    import kernels

    if not hasattr(kernels, "get_kernel"):
        raise ConfigError(
            f"the package `kernels` is {getattr(kernels, '__path__', kernels)}, not Hugging "
            f"Face's, which SGLang imports; start from another folder or remove it from PYTHONPATH"
        )


# -- the server -------------------------------------------------------------------------


def _launch(ours: argparse.Namespace, theirs: list[str]) -> int:
    from sglang.srt.arg_groups.overrides import resolving_view
    from sglang.srt.plugins import load_plugins

    from cachepawl_launch import map_route
    from cachepawl_launch.host.room import check_room
    from cachepawl_launch.install import check_sglang
    from cachepawl_launch.preview import preview, show
    from cachepawl_launch.refusals import notices, refuse_flags
    from cachepawl_launch.turns import opening_of

    console = Console(stderr=True, soft_wrap=True)
    options = options_of(ours)
    for line in check_sglang(options.allow_other_sglang):
        console.print(f"cachepawl: {line}; going on as told")
    load_plugins()
    server_args = _parse(theirs, ours.cachepawl_cpu)
    _check_checkpoint(server_args.model_path)
    refuse_flags(server_args, BACKEND)  # as given, before SGLang complains of combinations
    with _one_line_errors(server_args.model_path):
        server_args.resolve_once()
    view = resolving_view(server_args)
    refuse_flags(view, BACKEND)  # as resolved
    if options.map:
        map_route.refuse_processes(view)
    for line in notices(view, flag_names(theirs)):
        console.print(f"cachepawl: {line}")
    if not ours.cachepawl_dry_run:
        _check_port(view.host, view.port)
    with _one_line_errors(server_args.model_path):
        capacity = preview(server_args, view, options)
        host = check_room(capacity, view, options)
    console.print(f"cachepawl {__version__}")
    show(capacity, console)
    if host is not None:
        console.print(f"cachepawl: {host}")
    if ours.cachepawl_dry_run:
        return 0
    if options.message_marks:
        options = options.model_copy(update={"turn_opening": opening_of(view)})
        os.environ[ENVIRONMENT] = options.model_dump_json()
    if options.map:
        map_route.add()
    return _run(server_args)


def _parse(theirs: list[str], cpu: bool) -> Any:
    """SGLang's arguments; its usage of hundreds of flags is cut to the line that matters."""
    from sglang.srt.server_args import prepare_server_args

    given = flag_names(theirs)
    words = [*theirs, *(platform_args(given) if cpu else ())]
    if "--radix-cache-backend" not in given:
        words += ["--radix-cache-backend", BACKEND]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return prepare_server_args(words)
    except SystemExit as stop:
        if not stop.code:
            raise
        last = said.getvalue().strip().splitlines()[-1]
        raise ConfigError(f"{last.split('error: ')[-1]}; see --help") from None


def _check_checkpoint(model: str) -> None:
    looks_local = model.startswith(("/", ".", "~")) or Path(model).exists()
    if looks_local and not Path(model).expanduser().joinpath("config.json").is_file():
        raise ConfigError(f"--model-path {model}: no checkpoint there (config.json is missing)")


def _check_port(host: str, port: int) -> None:
    from sglang.srt.utils.network import is_port_available

    if not is_port_available(port):
        raise ConfigError(f"--port {port} on {host} is in use; choose another with --port")


@contextlib.contextmanager
def _one_line_errors(model: str) -> Iterator[None]:
    """SGLang's own complaints about flags or model, as one line."""
    try:
        yield
    except CachepawlError:
        raise
    except (
        AssertionError,
        ImportError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
    ) as e:
        text = str(e).strip().splitlines()
        raise ConfigError(f"{model}: {type(e).__name__}: {text[0] if text else ''}") from e


def _run(server_args: Any) -> int:
    from sglang.launch_server import run_server
    from sglang.srt.utils import kill_process_tree

    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)
    return 0
