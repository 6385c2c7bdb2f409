"""Random orders between two tiny arenas beside a model of plain copies.

The model applies an order when its outcome is told.  Until then nobody else may use its ends;
from then on anybody may, at once, and after a failure somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tiers import CPU, SMALL_PAGES, ManualLane, copy_of, manual_lanes, tiers

from cachepawl.errors import TransferError
from cachepawl.offload.arena_transfers import ArenaTransfers, Lanes
from cachepawl.offload.copiers import Copiers, copiers_for
from cachepawl.offload.extents import Extents
from cachepawl.offload.transfers import Direction, Order, Outcome, Transfers
from cachepawl.pool.geometry import Geometry

WRITE, LOAD = Direction.WRITE_BACK, Direction.LOAD_BACK
ACROSS = {WRITE: LOAD, LOAD: WRITE}
"""A side is named by the direction that reads it."""
PICKS = st.integers(0, 10**6)


class Moody:
    """A copier that fails when it is told to, with half of the work done."""

    def __init__(self) -> None:
        self.inner = copiers_for(CPU).load
        self.fail = False

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        count = len(extents.nbytes) // (2 if self.fail else 1)
        self.inner.extents(dst, src, Extents(*(column[:count] for column in extents)))
        self.check()

    def rows(self, dst: torch.Tensor, src: torch.Tensor, pieces: Any, rows: Any) -> None:
        count = len(pieces) // (2 if self.fail else 1)
        self.inner.rows(dst, src, pieces[:count], rows)
        self.check()

    def check(self) -> None:
        if self.fail:
            raise RuntimeError("the link is down")


class TransferMachine(RuleBasedStateMachine):
    """Lanes advance when a rule says so: every interleaving of the directions can come."""

    shapes: Geometry = SMALL_PAGES
    frames = {WRITE: 4, LOAD: 5}  # noqa: RUF012
    make: Callable[..., ArenaTransfers] = ArenaTransfers
    may_be_refused = False

    def lanes(self) -> Lanes:
        self.write_lane, self.load_lane, lanes = manual_lanes()
        return lanes

    @initialize(groups=st.sampled_from([1, 700, 10**9]))
    def build(self, groups: int) -> None:
        self.write_lane: ManualLane | None = None
        self.load_lane: ManualLane | None = None
        self.moody = Moody()
        self.tiers = tiers(
            self.shapes,
            (self.frames[WRITE], self.frames[LOAD]),
            lanes=self.lanes(),
            copiers=Copiers(self.moody, self.moody, self.moody),
            group_bytes=groups,
            make=type(self).make,
        )
        self.transfers = self.tiers.transfers
        self.front = self.decides()
        self.raw = {WRITE: self.tiers.device.raw, LOAD: self.tiers.host.raw}
        self.model = {side: raw.clone() for side, raw in self.raw.items()}
        self.busy: dict[Direction, set[int]] = {WRITE: set(), LOAD: set()}
        self.open: dict[Direction, list[Order]] = {WRITE: [], LOAD: []}
        self.begun: set[int] = set()
        self.never_copied: set[int] = set()
        self.a_load_failed = False
        self.tickets = 0

    def decides(self) -> Transfers:
        """What orders are given to and outcomes come from."""
        return self.transfers

    # -- places, in pages of an arena ------------------------------------------------------

    @property
    def each(self) -> int:
        return self.shapes.pages_per_frame

    def of_frame(self, frame: int) -> range:
        return range(frame * self.each, (frame + 1) * self.each)

    def free(self, side: Direction) -> list[int]:
        pages = range(self.each, self.frames[side] * self.each)
        return [page for page in pages if page not in self.busy[side]]

    def free_frames(self, side: Direction) -> list[int]:
        free = set(self.free(side))
        return [f for f in range(1, self.frames[side]) if free.issuperset(self.of_frame(f))]

    def ends(self, order: Order) -> Iterator[tuple[Direction, int]]:
        copy = order.copy
        for side, pages, states in (
            (order.direction, copy.pages_from, copy.states_from),
            (ACROSS[order.direction], copy.pages_to, copy.states_to),
        ):
            for page in [*pages, *(page for slot in states for page in self.of_frame(slot))]:
                yield side, page

    def bytes_of(self, raw: torch.Tensor, page: int, size: int, at: int = 0) -> torch.Tensor:
        first = page * self.shapes.page_bytes + at
        return raw[first : first + size]

    # -- orders -----------------------------------------------------------------------------

    @rule(direction=st.sampled_from([WRITE, LOAD]), seed=PICKS)
    def start(self, direction: Direction, seed: int) -> None:
        order = Order(self.tickets, direction, self.some_copy(direction, Random(seed)))
        self.tickets += 1
        try:
            self.front.start(order)
        except TransferError:
            if not self.may_be_refused:
                raise
            return
        for side, page in self.ends(order):
            self.busy[side].add(page)
        self.open[direction].append(order)

    def some_copy(self, direction: Direction, dice: Random) -> Any:
        """Between places that are free now; with threads that depends on how far they are, so
        Hypothesis is not asked: what it draws must not."""
        sides = direction, ACROSS[direction]
        slots = [self.free_frames(side) for side in sides]
        n = dice.randint(0, min(1, *map(len, slots)))
        states = [dice.sample(side, n) for side in slots]
        pages = []
        for side, used in zip(sides, states, strict=True):
            taken = {page for slot in used for page in self.of_frame(slot)}
            pages.append([page for page in self.free(side) if page not in taken])
        n = dice.randint(0, min(6, *map(len, pages)))
        came, to = (dice.sample(side, n) for side in pages)
        return copy_of(came, to, *states)

    @rule()
    def begin(self) -> None:
        self.transfers.begin_loads()
        self.begun.update(order.ticket for order in self.open[LOAD])

    @precondition(lambda self: self.write_lane and self.write_lane.steps)
    @rule(mood=st.integers(0, 3))
    def write_on(self, mood: int) -> None:
        assert self.write_lane
        self.advance(self.write_lane, mood == 0)

    @precondition(lambda self: self.load_lane and self.load_lane.steps)
    @rule(mood=st.integers(0, 5))
    def load_on(self, mood: int) -> None:
        assert self.load_lane
        self.a_load_failed |= mood == 0
        self.advance(self.load_lane, mood == 0)

    def advance(self, lane: ManualLane, fails: bool) -> None:
        self.moody.fail = fails
        lane.advance()
        self.moody.fail = False

    # -- the forward ------------------------------------------------------------------------

    @rule(layers=st.lists(st.integers(0, SMALL_PAGES.kv.layers - 1), min_size=1, max_size=3))
    def forward(self, layers: list[int]) -> None:
        """Reads states, then layers in order: all that was begun is there by then."""
        self.transfers.wait_states()
        for order in self.loads_to_read():
            size = self.shapes.state_bytes
            for came, to in zip(order.copy.states_from, order.copy.states_to, strict=True):
                self.must_be_loaded(came * self.each, to * self.each, size, 0, "states")
        kv = self.shapes.kv
        for layer in sorted(layers):
            self.transfers.wait_layer(layer)
            for order in self.loads_to_read():
                for came, to in zip(order.copy.pages_from, order.copy.pages_to, strict=True):
                    at = kv.k_offset(layer)
                    size = kv.k_row + kv.v_row
                    self.must_be_loaded(came, to, size, at, f"layer {layer}")

    def loads_to_read(self) -> list[Order]:
        if self.a_load_failed:
            return []
        return [o for o in self.open[LOAD] if o.ticket in self.begun - self.never_copied]

    def must_be_loaded(self, came: int, to: int, size: int, at: int, what: str) -> None:
        loaded = self.bytes_of(self.raw[WRITE], to, size, at)
        assert torch.equal(loaded, self.bytes_of(self.raw[LOAD], came, size, at)), (
            f"{what} of page {to} was read before it was loaded"
        )

    # -- the others -------------------------------------------------------------------------

    @rule(side=st.sampled_from([WRITE, LOAD]), pick=PICKS, seed=st.integers(0, 255))
    def use(self, side: Direction, pick: int, seed: int) -> None:
        """Somebody writes to a place that no transfer has."""
        free = self.free(side)
        if free:
            self.fill(side, free[pick % len(free)], seed)

    def fill(self, side: Direction, page: int, seed: int) -> None:
        for raw in (self.raw[side], self.model[side]):
            self.bytes_of(raw, page, self.shapes.page_bytes)[:] = seed

    # -- outcomes ---------------------------------------------------------------------------

    @rule()
    def poll(self) -> None:
        self.take(self.front.finished())
        self.begun.update(order.ticket for order in self.open[LOAD])

    @rule()
    def wait(self) -> None:
        self.front.wait()
        self.take(self.front.finished())
        assert not any(self.open.values()), "orders are left after all was waited for"

    def take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            (queue,) = (q for q in self.open.values() if outcome.ticket in [o.ticket for o in q])
            assert queue[0].ticket == outcome.ticket, "outcomes of a direction are in order"
            self.end(queue.pop(0), outcome)
        self.a_load_failed &= bool(self.open[LOAD])

    def end(self, order: Order, outcome: Outcome) -> None:
        came, to, copy = order.direction, ACROSS[order.direction], order.copy
        for side, page in self.ends(order):
            self.busy[side].discard(page)
        if outcome.error is not None:
            assert "the link is down" in outcome.error or "injected" in outcome.error
            for side, page in self.ends(order):
                if side is to:
                    self.fill(side, page, 7)
            return
        sizes = self.shapes.page_bytes, self.shapes.state_bytes
        moves = [(a, b, sizes[0]) for a, b in zip(copy.pages_from, copy.pages_to, strict=True)]
        moves += [
            (a * self.each, b * self.each, sizes[1])
            for a, b in zip(copy.states_from, copy.states_to, strict=True)
        ]
        for source, target, size in moves:
            there = self.bytes_of(self.model[to], target, size)
            there.copy_(self.bytes_of(self.model[came], source, size))

    @invariant()
    def what_no_transfer_has_is_as_the_model_says(self) -> None:
        if not hasattr(self, "tickets"):
            return
        size = self.shapes.page_bytes
        for side, raw in self.raw.items():
            same = (raw.view(-1, size) == self.model[side].view(-1, size)).all(1)
            wrong = set((~same).nonzero().flatten().tolist()) - self.busy[side]
            assert not wrong, f"pages {wrong} of the side that {side} reads are wrong"

    def teardown(self) -> None:
        if hasattr(self, "tickets"):
            self.wait()
            self.what_no_transfer_has_is_as_the_model_says()
            self.transfers.close()
