"""`python -m cachepawl.specs`: the table of presets, as docs/models.md shows it."""

from __future__ import annotations

from cachepawl.specs.presets import PRESETS, Preset

_MIB = 1 << 20
_HEAD = (
    "| model | KV B/token | window B/token x tokens | state MiB (conv + temporal) "
    "| tokens per state | numbers |\n"
    "|---|---:|---:|---:|---:|---|"
)


def row(preset: Preset) -> str:
    """One line of the table: one rank, the preset's own element types, no padding."""
    spec = preset.spec()
    window = "-"
    if spec.window_tokens:
        window = f"{spec.window_bytes_per_token()} x {spec.window_tokens}"
    parts = f"{spec.conv_bytes() / _MIB:.2f} + {spec.temporal_bytes() / _MIB:.2f}"
    state = f"{spec.state_bytes() / _MIB:.2f} ({parts})"
    per_state = spec.tokens_per_state()
    tokens = "-" if per_state is None else str(per_state)
    cells = (preset.name, str(spec.kv_bytes_per_token()), window, state, tokens, numbers(preset))
    return f"| {' | '.join(cells)} |"


def numbers(preset: Preset) -> str:
    """What stands behind a preset's numbers, in a few words."""
    if preset.verified:
        return "tested"
    if len(preset.unverified) == len(preset.config):
        return "**unverified**"
    if preset.unverified:
        return f"quoted; **unverified**: {', '.join(preset.unverified)}"
    return "quoted"


def table() -> str:
    """The whole table, in markdown."""
    return "\n".join([_HEAD, *(row(preset) for preset in PRESETS.values())])


if __name__ == "__main__":
    print(table())
