"""A whole trace as a tree of runs: what prompts have in common, without their tokens.

A *run* is a stretch of pages on which no two prompts part and none ends; a prompt is the
runs from the root to its own last one.  Memory: 8 bytes for every block of every prompt
while the tree is built, then a few numbers for every run and every request.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from cachepawl.offline.traces.request import TraceRequest
from cachepawl.types import TOKEN_BYTES, Key

ROOT = -1
"""The run above the first ones: no tokens."""


class Runs(NamedTuple):
    """The tree, and each request's place in it.  Depths are tokens, multiples of the page."""

    page_tokens: int
    parent: list[int]
    """Of each run; ROOT for the first ones."""
    end: list[int]
    """Depth where each run ends."""
    last: list[int]
    """Each request's last run, in the order of the trace; ROOT for less than a page."""
    tokens: list[int]
    """Each request's prompt."""

    def path(self, request: int) -> list[int]:
        """The request's runs from the first one down."""
        path = []
        run = self.last[request]
        while run != ROOT:
            path.append(run)
            run = self.parent[run]
        path.reverse()
        return path

    def start(self, run: int) -> int:
        """Depth where a run starts."""
        above = self.parent[run]
        return 0 if above == ROOT else self.end[above]

    def limit(self, request: int) -> int:
        """The deepest page that the request may start from: its last token is always computed."""
        return (self.tokens[request] - 1) // self.page_tokens * self.page_tokens


class _Prompt(NamedTuple):
    """A prompt in a form that sorts quickly and as its tokens would."""

    namespace: bytes
    symbols: bytes
    """8 bytes a block of `width` tokens, the last one maybe partial."""
    tokens: int


def runs_of(requests: Iterable[TraceRequest], block_tokens: int, page_tokens: int) -> Runs:
    """The runs of a trace whose tokens repeat in blocks, in a cache with such pages."""
    width = max(block_tokens, page_tokens)
    prompts, tokens = [], []
    for request in requests:
        tokens.append(len(request.key.tokens) // TOKEN_BYTES)
        prompts.append(_prompt(request.key, block_tokens, page_tokens))
    return _tree(prompts, tokens, width, page_tokens)


def _prompt(key: Key, block_tokens: int, page_tokens: int) -> _Prompt:
    """One symbol a block: its id, or where blocks are smaller than pages, a hash of a page."""
    if block_tokens >= page_tokens:
        ids = memoryview(key.tokens).cast("q")
        return _Prompt(key.namespace, ids[::block_tokens].tobytes(), len(ids))
    size = page_tokens * TOKEN_BYTES
    whole = len(key.tokens) // size
    pages = array("q", (hash(key.tokens[i * size : (i + 1) * size]) for i in range(whole)))
    return _Prompt(key.namespace, pages.tobytes(), whole * page_tokens)


def _tree(prompts: list[_Prompt], tokens: list[int], width: int, page: int) -> Runs:
    """Neighbours in sorted order share the most, so one pass with a stack finds all runs."""
    parent: list[int] = []
    end: list[int] = []
    last = [ROOT] * len(prompts)
    stack: list[int] = []

    def grow(depth: int) -> int:
        parent.append(stack[-1] if stack else ROOT)
        end.append(depth)
        stack.append(len(end) - 1)
        return stack[-1]

    before = _Prompt(b"", b"", 0)
    for request in sorted(range(len(prompts)), key=prompts.__getitem__):
        prompt = prompts[request]
        shared = _shared_tokens(before, prompt, width) // page * page
        below = ROOT
        while stack and end[stack[-1]] > shared:
            below = stack.pop()
        if below != ROOT and shared > (end[stack[-1]] if stack else 0):
            parent[below] = grow(shared)
        depth = prompt.tokens // page * page
        if depth > (end[stack[-1]] if stack else 0):
            grow(depth)
        last[request] = stack[-1] if stack else ROOT
        before = prompt
    return Runs(page, parent, end, last, tokens)


def _shared_tokens(a: _Prompt, b: _Prompt, width: int) -> int:
    """Tokens that two prompts have in common from the start."""
    if a.namespace != b.namespace:
        return 0
    low, high = 0, min(len(a.symbols), len(b.symbols)) // TOKEN_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        span = slice(low * TOKEN_BYTES, middle * TOKEN_BYTES)
        if a.symbols[span] == b.symbols[span]:
            low = middle
        else:
            high = middle - 1
    return min(low * width, a.tokens, b.tokens)
