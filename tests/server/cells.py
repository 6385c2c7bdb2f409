"""The cells of the server matrix, and what each of them must hit."""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl_launch.cpu.flags import Limits
from cachepawl_launch.cpu.tiny_config import WITHOUT_EXTRA_BUFFER, WITHOUT_STATES

GRID = 64
"""Snapshot grid of the tiny hybrid models, tokens."""
ANSWER = 16
"""Tokens between snapshots of an answer."""
CHUNK = 256
"""Tokens of a prefill chunk."""
ARENA_GB = "0.0016"
"""About a hundred frames: large for one request, small for a dozen."""
LIMITS = Limits(total_tokens=None, states=None, requests=12, context=4096, chunked_prefill=CHUNK)


@dataclass(frozen=True)
class Cell:
    """A model family at a page size."""

    family: str
    page: int

    def __str__(self) -> str:
        return f"{self.family}-{self.page}"

    @property
    def has_states(self) -> bool:
        return self.family not in WITHOUT_STATES

    @property
    def tracked(self) -> bool:
        """Whether states are snapshots on the grid, rather than where a chunk ends."""
        return self.has_states and self.family not in WITHOUT_EXTRA_BUFFER

    def floor(self, depth: int) -> int:
        return depth // self.page * self.page

    # Expected hits of an undisturbed server.

    def repeat(self, length: int) -> int:
        """An identical prompt again: the deepest state before its last token."""
        if self.tracked:
            return (length - 1) // GRID * GRID
        if self.has_states:
            return (length - 1) // CHUNK * CHUNK  # a state where each chunk ended
        return self.floor(length - 1)

    def extend(self, length: int) -> int:
        """A prompt of `length` tokens, continued otherwise than it was answered."""
        if self.tracked:
            return length // GRID * GRID
        return length if self.has_states else self.floor(length)

    def forks(self, at: int, length: int) -> list[int]:
        """Prompts a, b, b, c, d of `length` tokens that leave each other at `at`.

        b finds KV without a state, or nothing but KV is needed; it leaves a state at
        the branch and one at its end.
        """
        if not self.has_states:
            shared = self.floor(at)
            return [0, shared, self.repeat(length), shared, shared]
        if self.tracked:
            branch = self.floor(at) // GRID * GRID
            return [0, 0, self.repeat(length), branch, branch]
        return [0, 0, max(at, self.repeat(length)), at, at]

    def next_turn(self, prompt: int, answer: int) -> int:
        """The answered prompt, its answer and more: the last computed token counts."""
        known = prompt + answer - 1
        if self.tracked:
            # A snapshot in decode every 16 tokens, one at the prompt's last grid depth.
            decoded = known // ANSWER * ANSWER
            return decoded if decoded > prompt else prompt // GRID * GRID
        return known if self.has_states else self.floor(known)


CELLS = [
    Cell(family, page)
    for family in ("nemotron_h", "qwen3_5", "falcon_h1", "lfm2", "qwen3")
    for page in (1, 16)
    if not (family == "lfm2" and page == 16)
]
"""SGLang serves LFM2 at page 1 only."""
LONG_RUN = [Cell("nemotron_h", 1), Cell("qwen3_5", 1), Cell("falcon_h1", 16), Cell("qwen3", 1)]
"""Served in `make stress` only: their family and their page size are among the others."""
FEW = [Cell("nemotron_h", 16), Cell("lfm2", 1), Cell("qwen3", 16)]
"""One of each kind: snapshots on the grid, states where chunks end, no states at all."""
