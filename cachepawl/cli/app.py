"""The group of commands.  A command's module is imported when the command is run."""

from __future__ import annotations

import importlib

import click

from cachepawl import __version__

COMMANDS = {
    "diagnose-sglang": "What an SGLang server's memory holds, and what is wrong with its settings.",
    "diagnose-vllm": "What a vLLM cache plan reserves, fills and wastes.",
    "plan": "What a model's cache holds on given GPUs: static split against one budget.",
    "replay": "A trace through the cache that serves: hits, misses, memory, over time.",
    "map": "Draw a cache, live or recorded: the tree, and the arena's frames by owner.",
    "info": "Versions and devices: what to put into a bug report.",
}
"""Names and one-line helps; the command NAME is `command` in the module `cachepawl.cli.NAME`."""


class LazyGroup(click.Group):
    """Knows the commands' names and helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cachepawl.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The server: python -m cachepawl.launch_server --help",
)
@click.version_option(__version__, "--version", prog_name="cachepawl")
def app() -> None:
    """What a cache for a hybrid model will hold, wastes and misses.  Needs no GPU.

    Exit codes: 0 fine, 1 a gate failed, 2 bad input or usage.
    """
