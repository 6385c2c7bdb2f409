"""What a byte budget holds, in numbers a person asks for.  No torch, no SGLang."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.pool.geometry import Geometry

CONTEXTS = (1024, 8192, 32768)
"""Tokens: short, middling and long requests."""


class Capacity(NamedTuple):
    """What `budget` bytes hold of a model's KV and states."""

    geometry: Geometry
    """With as many frames as the budget holds."""
    budget: int
    states_per_request: int
    exact: bool
    """Whether the budget is certain; otherwise it is an estimate."""

    def requests_at(self, tokens: int) -> int:
        """Requests of `tokens` tokens that can run at once.

        A request takes its states, each a frame, and its pages; pages of several
        requests share frames.
        """
        g = self.geometry
        pages = g.usable_frames * g.pages_per_frame
        return max(0, pages) // (self.states_per_request * g.pages_per_frame + g.pages_of(tokens))

    def tokens_of_one(self) -> int:
        """The longest single request, in tokens."""
        g = self.geometry
        return max(0, g.usable_frames - self.states_per_request) * g.tokens_per_frame

    def rows(self) -> list[tuple[str, str]]:
        """The table, top to bottom: what, how much."""
        g = self.geometry
        out = [
            ("budget", f"{_size(self.budget)} ({'exact' if self.exact else 'estimate'})"),
            ("KV of a token", f"{g.entry_bytes:,} B"),
        ]
        if g.state is not None:
            out += [
                (
                    "a state",
                    f"{_size(g.state_bytes)} = KV of {g.state_bytes // g.entry_bytes:,} tokens",
                ),
                ("states of a request", f"{self.states_per_request}"),
            ]
        if g.checkpoint_dtype is not None:
            out.append(
                (
                    "a state kept for reuse",
                    f"{_size(g.kept_bytes)} in {g.checkpoint_dtype}, {g.checkpoints_per_frame} "
                    f"a frame",
                )
            )
        out += [
            ("frames", self._frames()),
            ("longest request", f"{self.tokens_of_one():,} tokens"),
        ]  # fmt: skip
        return out + [(f"requests of {n // 1024}k", f"{self.requests_at(n):,}") for n in CONTEXTS]

    def _frames(self) -> str:
        g = self.geometry
        return (
            f"{g.usable_frames:,} of {_size(g.frame_bytes)}, {g.pages_per_frame:,} pages of "
            f"{g.page_tokens} token{'s' * (g.page_tokens > 1)} each, "
            f"{100 * g.padding:.2f} % padding"
        )


def _size(n: int) -> str:
    """Bytes in the unit a person would choose."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if n >= unit:
            return f"{n / unit:,.2f} {name}"
    return f"{n} B"
