"""What people see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cachepawl_launch.demo.play import Row

WIDE = 100
"""Columns from which a row takes one line; what a file or a pipe gets."""


def make_console() -> Console:
    """Standard output; wide when it is a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def requests_table() -> Table:
    """An empty table for `add_row`."""
    table = Table(
        title="requests, one after the other; all chats begin with the same system prompt",
        title_justify="left",
        caption="In tokens; evicted: tokens of KV + states. A hit ends at the deepest cached "
        "state, what is cached beyond it is KV without a state. The model is tiny: most of the "
        "ms is HTTP and scheduling.",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("request", no_wrap=True)
    for name in ("prompt", "cached", "ms", "evicted"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("not cached, because")
    return table


def add_row(table: Table, row: Row, width: int) -> None:
    """One request; `width` is the console's."""
    evicted = row.evicted_tokens or row.evicted_states
    table.add_row(
        row.label,
        str(row.prompt),
        f"[green]{row.cached}[/]" if row.cached else "0",
        f"{row.milliseconds:.0f}",
        f"{row.evicted_tokens}+{row.evicted_states}" if evicted else "",
        (", " if width >= WIDE else "\n").join(row.reasons),
    )


def show_cache(console: Console, section: dict[str, Any]) -> None:
    """Tree, arena and counters of the `cachepawl` section of `/server_info`."""
    for name in ("tree", "arena"):
        console.print(f"\n[bold]{name}[/] (as /server_info draws it)")
        console.print(section[name], markup=False, soft_wrap=True)
    console.print()
    console.print(_counters(section["stats"]))


def _counters(stats: dict[str, int]) -> Table:
    table = Table(title="counters", title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    hit, prompt = stats["hit_tokens"], stats["prompt_tokens"]
    rate = f"{hit / prompt:.0%}" if prompt else "-"
    for what, much in (
        ("hit rate", f"{rate}: {hit:,} of {prompt:,} prompt tokens came from the cache"),
        ("evicted", f"{stats['evicted_tokens']:,} tokens, {stats['evicted_states']:,} states"),
        ("frames turned from KV to a state", f"{stats['kv_to_state']:,}"),
        ("frames turned from a state to KV", f"{stats['state_to_kv']:,}"),
        ("pages stranded", f"{stats['pages_stranded']:,} (free, but in a frame with pages in use)"),
        ("frames", f"{stats['frames_kv']:,} with KV, {stats['frames_state']:,} with a state, "
                   f"{stats['frames_free']:,} free"),
    ):  # fmt: skip
        table.add_row(what, much)
    return table


def show_doubts(console: Console, doubts: list[str]) -> None:
    """Where the story did not hold."""
    console.print("\n[bold red]WARNING: the cache did not do what this demo says it does[/]")
    for doubt in doubts:
        console.print(f"  {doubt}", markup=False, soft_wrap=True)


def show_next_steps(console: Console, log: Path) -> None:
    """How to serve a real model."""
    console.print(
        f"\nWhat this server's memory budget holds was printed as it started: {log}\n"
        "\nServe your own model, with any flag of SGLang's server:\n"
        "  python -m cachepawl.launch_server --model-path YOUR_MODEL\n"
        "for example\n"
        "  python -m cachepawl.launch_server --model-path Qwen/Qwen3-Next-80B-A3B-Instruct --tp 4\n"
        "With --cachepawl-dry-run it prints what the budget will hold (bytes of a token and of a\n"
        "state, the longest request, requests at once by length) and stops: no weights are loaded.",
        markup=False,
        soft_wrap=True,
    )


def show_serving(console: Console, url: str, log: Path) -> None:
    """Where the server is, and how to talk to it."""
    console.print(
        f"\nserving on {url} (log: {log}); Ctrl-C stops it\n"
        f"\n  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "demo", "max_tokens": 16, "messages": '
        '[{"role": "user", "content": "Hello"}]}\'\n'
        f"  curl {url}/server_info    # the cache: internal_states[0].cachepawl",
        markup=False,
        soft_wrap=True,
    )
