"""The demo from its flags to its exit code."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests
from rich.console import Console
from rich.live import Live

from cachepawl_launch.cpu.flags import Limits, serve_args
from cachepawl_launch.cpu.tiny_config import FAMILIES
from cachepawl_launch.demo import show
from cachepawl_launch.demo.errors import DemoError
from cachepawl_launch.demo.play import Player
from cachepawl_launch.demo.script import ARENA_GB, SCRIPT
from cachepawl_launch.demo.server import Server, choose_port, exit_on_signals, running

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")


def run(argv: Sequence[str]) -> int:
    """Run the demo; returns the exit code."""
    options = _parse(argv)
    exit_on_signals()
    console = show.make_console()
    try:
        return _run(options, console)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.code


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cachepawl_launch.demo",
        description="A conversation with a real server, on a tiny model with random weights.",
    )
    parser.add_argument(
        "--family", choices=FAMILIES, default=FAMILIES[0], help="kind of model (%(default)s)"
    )
    parser.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C")
    parser.add_argument("--port", type=int, help="of the server (default: a free one)")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("build"),
        metavar="DIR",
        help="for the model and the server's log (%(default)s)",
    )
    return parser.parse_args(argv)


def _run(options: argparse.Namespace, console: Console) -> int:
    port = choose_port(options.port)
    cpu = options.cpu or not has_gpu()
    model = make_model(options.family, options.folder / "models", console)
    log: Path = options.folder / "demo" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = server_command(model.resolve(), options.family, port, cpu=cpu)
    with running(command, port, log) as server:
        _wait(server, console, cpu)
        if options.serve:
            return _serve(server, console)
        return _play(server, console)


def has_gpu() -> bool:
    """Whether there is a CUDA device."""
    # Without a driver the answer is known, and importing torch takes seconds.
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    import torch

    return torch.cuda.is_available()


def make_model(family: str, folder: Path, console: Console) -> Path:
    """The tiny model's folder, made if it is not there; DemoError if it cannot be."""
    if not (folder / family).exists():
        console.print(f"making a tiny {family} model with random weights in {folder}")
    # In a process of its own: torch and transformers are heavy, and this one stays responsive.
    command = [sys.executable, "-m", "cachepawl_launch.cpu.tiny", str(folder), family]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"no model: {done.stderr.strip().splitlines()[-1]}")
    return folder / family


def server_command(model: Path, family: str, port: int, *, cpu: bool) -> list[str]:
    """The command line of the server, as a user would type it."""
    where = ["--model-path", str(model), "--host", "127.0.0.1", "--port", str(port)]
    arena = ["--cachepawl-device-gb", str(ARENA_GB[family]), "--enable-cache-report"]
    words = [sys.executable, "-m", "cachepawl.launch_server", *where, *arena]
    if not cpu:
        return words
    limits = Limits(total_tokens=None, states=None, requests=4, context=4096, chunked_prefill=2048)
    return [*words, "--cachepawl-cpu", *serve_args(family, limits=limits)]


def _wait(server: Server, console: Console, cpu: bool) -> None:
    where = "without a GPU" if cpu else "on the GPU"
    console.print(f"starting the server {where}, log: {server.log}")
    start = time.monotonic()
    with console.status("starting") as status:
        server.wait_ready(lambda waited: status.update(f"starting, {waited:.0f} s"))
    console.print(f"ready after {time.monotonic() - start:.0f} s at {server.client.url}")


def _play(server: Server, console: Console) -> int:
    try:
        player = Player(server.client)
        table = show.requests_table()
        with Live(table, console=console, auto_refresh=False) as live:
            for row in player.play(SCRIPT):
                show.add_row(table, row, console.width)
                live.refresh()
    except requests.RequestException as error:
        if server.alive:
            raise DemoError(f"a request failed: {error}\n{server.tail()}") from error
        raise server.died("while answering") from error
    if not console.is_terminal:
        console.print()  # where nothing is redrawn, Live leaves its last line open
    show.show_cache(console, player.section)
    show.show_next_steps(console, server.log)
    if player.doubts:
        show.show_doubts(console, player.doubts)
        return 1
    return 0


def _serve(server: Server, console: Console) -> int:
    show.show_serving(console, server.client.url, server.log)
    while server.alive:
        time.sleep(0.5)
    raise server.died("while serving")
