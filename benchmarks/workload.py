"""What is cached and asked for: seeded token sequences, no files.

`prompts` system prompts, each shared by `conversations` conversations of `TURNS` turns.
Every prompt and every turn end is published with one state, so a conversation is a path
of 1 + TURNS nodes and the tree has `prompts * (1 + conversations * TURNS)` states.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PROMPT = 2048
TURN = 512
TURNS = 4
TAIL = 256
"""Tokens of a question that nobody has asked before."""
LONG_NODES = 64
LONG_STEP = 2048
"""A path of 64 nodes and 131072 tokens."""
LEAVES = 3200
TOGETHER = 16
"""Requests that run at the same time while a tree is filled."""
CHUNK = 64
"""The last tokens of a sequence are decoded: one by one, all running requests in turn."""
VOCABULARY = 150_000

Tokens = array  # of type 'q', as SGLang hands them over
Batch = list[Tokens]
"""Sequences of requests that run at the same time."""


@dataclass(frozen=True)
class Shape:
    """How much to measure.  Sizes that a row's name states are fixed above."""

    prompts: int = 8
    conversations: int = 24
    calls: int = 320
    """Timed calls a row, where the tree has room for so many."""

    @property
    def states(self) -> int:
        return self.prompts * (1 + self.conversations * TURNS)


FULL = Shape()
QUICK = Shape(calls=32)


class Source:
    """Random tokens, the same ones for the same seed.

    Each piece begins with a token of its own, so that no two share a page by chance.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._first = VOCABULARY * (1 + seed)

    def tokens(self, count: int) -> Tokens:
        drawn = self._random.integers(1, VOCABULARY, count)
        drawn[0] = self._first
        self._first += 1
        return array("q", drawn.tobytes())


class Conversations:
    """The tree of most rows: `script` fills it, `whole` are its leaves' sequences."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.source = Source(seed)
        self.script: list[Batch] = []
        self.whole: Batch = []
        for _ in range(shape.prompts):
            prompt = self.source.tokens(PROMPT)
            self.script.append([prompt])
            for start in range(0, shape.conversations, TOGETHER):
                self._talk(prompt, min(TOGETHER, shape.conversations - start))

    def _talk(self, prompt: Tokens, together: int) -> None:
        now = [prompt] * together
        for _ in range(TURNS):
            now = [tokens + self.source.tokens(TURN) for tokens in now]
            self.script.append(now)
        self.whole += now

    def question(self, number: int) -> Tokens:
        """A whole conversation and a tail that is cached nowhere."""
        return self.whole[number % len(self.whole)] + self.source.tokens(TAIL)

    def fork(self, number: int, cut: int) -> Tokens:
        """Leaves a conversation `cut` tokens into its last turn."""
        known = len(self.whole[number]) - TURN + cut
        return self.whole[number][:known] + self.source.tokens(TAIL)

    def next_turn(self, number: int) -> Tokens:
        """A conversation and one more turn."""
        return self.whole[number % len(self.whole)] + self.source.tokens(TURN)


def long_path(seed: int = 1) -> list[Batch]:
    """A script for one conversation of `LONG_NODES` turns; its last sequence is the path."""
    source, tokens, script = Source(seed), array("q"), []
    for _ in range(LONG_NODES):
        tokens = tokens + source.tokens(LONG_STEP)
        script.append([tokens])
    return script


def many_leaves(shape: Shape, seed: int = 2) -> Iterator[Batch]:
    """A script for `LEAVES` leaves of one turn, spread evenly over prompts of one turn."""
    source = Source(seed)
    for _ in range(shape.prompts):
        prompt = source.tokens(TURN)
        yield [prompt]
        for _ in range(LEAVES // shape.prompts // TOGETHER):
            yield [prompt + source.tokens(TURN) for _ in range(TOGETHER)]
