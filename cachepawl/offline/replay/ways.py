"""How a request keeps states, by what the server keeps for a running request.

The same three ways as the launcher's: slots that the forward fills at grid depths
(`Tracked`), one slot that is copied where a chunk ends (`Single`), none (`Stateless`).
Depths and lengths are tokens.
"""

from __future__ import annotations

from math import lcm
from typing import Protocol

from cachepawl.errors import InputError
from cachepawl.snapshots import SnapshotPlan, answer_grid, default_grid
from cachepawl.specs import ModelSpec
from cachepawl.specs.shortconv import ShortConv


class Way(Protocol):
    """One of the three."""

    slots: int
    """State slots of a running request."""
    plan: SnapshotPlan

    def branch_point(self, kv_len: int, usable: int) -> int | None:
        """Where a state beyond the usable one would serve what else is cached."""

    def snapshot(self, start: int, stop: int, branch: int | None) -> int:
        """How deep a forward over `[start, stop)` can be published; 0 if not at all."""

    def hand_over(self, slots: list[int], spare: int) -> int:
        """The slot that the tree gets, `slots` being whole again with the spare one."""

    def end(self, prompt: int, length: int) -> int:
        """How deep a finished request can be published; `prompt` if its answer cannot be."""


class Tracked:
    """One active slot and two that the forward fills in turn at grid depths."""

    slots = 3

    def __init__(self, grid: int, page: int) -> None:
        self.plan = SnapshotPlan(grid, enabled=True)
        self.answer_grid = answer_grid(page)

    def branch_point(self, kv_len: int, usable: int) -> int | None:
        return self.plan.branch_point(kv_len, usable)

    def snapshot(self, start: int, stop: int, branch: int | None) -> int:
        return self.plan.snapshot(start, stop, branch) or 0

    def hand_over(self, slots: list[int], spare: int) -> int:
        given = slots.pop(1)
        slots.append(spare)
        return given

    def end(self, prompt: int, length: int) -> int:
        return max(prompt, length // self.answer_grid * self.answer_grid)


class Single:
    """One slot, copied where a chunk ends; pages of one token.

    The grid is 1 for tokens that are known, and a block where a trace knows blocks only.
    """

    slots = 1

    def __init__(self, grid: int) -> None:
        self.plan = SnapshotPlan(grid, enabled=True)

    def branch_point(self, kv_len: int, usable: int) -> int | None:
        return self.plan.branch_point(kv_len, usable)

    def snapshot(self, start: int, stop: int, branch: int | None) -> int:
        return self.plan.chunk(stop)

    def hand_over(self, slots: list[int], spare: int) -> int:
        return spare

    def end(self, prompt: int, length: int) -> int:
        return length


class Stateless:
    """Pure attention: KV alone, whole pages."""

    slots = 0

    def __init__(self, page: int) -> None:
        self.plan = SnapshotPlan(page, enabled=False)

    def branch_point(self, kv_len: int, usable: int) -> int | None:
        return None

    def snapshot(self, start: int, stop: int, branch: int | None) -> int:
        return self.plan.chunk(stop)

    def hand_over(self, slots: list[int], spare: int) -> int:
        raise AssertionError("a model without states has none to hand over")

    def end(self, prompt: int, length: int) -> int:
        return max(prompt, self.plan.chunk(length))


def grid_of(spec: ModelSpec, page: int, block: int) -> int:
    """The grid of a model's states, as SGLang 0.5.23 has it, and whole blocks of the trace.

    Two prompts that part inside a block of a trace seem to part where it begins, so a
    state inside a block would serve nobody, though it would with the real tokens.
    InputError for pages that blocks are not made of.
    """
    check_blocks(page, block)
    return lcm(page if _copied_anywhere(spec) else default_grid(page), block)


def check_blocks(page: int, block: int) -> None:
    """InputError unless a trace's blocks are whole pages, or pages are whole blocks.

    All tokens of a block are alike, so a page across the end of one would be cached, evicted and
    hit as no server would have it.
    """
    if block % page and page % block:
        raise InputError(
            f"--page {page}: the trace's blocks of {block} tokens are not whole pages; give a "
            f"page size that divides {block}, or whole blocks"
        )


def way_of(spec: ModelSpec, page: int, grid: int) -> Way:
    """The way of a model, as SGLang 0.5.23 serves it.

    InputError for LFM2 on pages of several tokens, which SGLang refuses too.
    """
    if not spec.states:
        return Stateless(page)
    if not _copied_anywhere(spec):
        return Tracked(grid, page)
    if page != 1:
        raise InputError(f"--page {page}: {spec.name} is served with pages of one token; give 1")
    return Single(grid)


def _copied_anywhere(spec: ModelSpec) -> bool:
    """Whether no kernel gives states on the way: short convolutions alone, or no states."""
    return all(isinstance(state, ShortConv) for state in spec.states)
