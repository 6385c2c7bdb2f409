"""Transfers between two arenas: two lanes, one a direction, and marks for the forward.

    start(write back)    fence ---> write lane   [states, pages]              mark: outcome
    start(load back)     kept until begin_loads
    begin_loads          fence ---> load lane    [states][layers 0..2][3..5]  a mark each
    forward              wait_states, then wait_layer(0), wait_layer(1), ...

The fence is the point behind everything launched so far that may write a source or still use
a destination.  Loads of a step share their launches, so that the first layers of all of them
come first.  Whether pages are loaded whole or by layers is `group_count`'s choice (layers.py).
Needs torch.  Used from one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from cachepawl.errors import TransferError
from cachepawl.offload.copier import Copier, TokenRows
from cachepawl.offload.copiers import Copiers
from cachepawl.offload.extents import (
    Extents,
    Piece,
    Places,
    check_copy,
    page_extents,
    pieces_of,
    state_extents,
)
from cachepawl.offload.lanes import Failed, Lane, Mark, Work
from cachepawl.offload.layers import GROUP_BYTES, group_count, layer_groups
from cachepawl.offload.transfers import FAILURES, Copy, Direction, Order, Outcome, describe
from cachepawl.pool.geometry import Geometry


class Side(NamedTuple):
    """One arena: `(bytes,)` uint8, and what lies where in it."""

    raw: torch.Tensor
    geometry: Geometry


class Lanes(NamedTuple):
    """Where copies run, and behind what."""

    write: Lane
    load: Lane
    fence: Callable[[], Mark]
    """The point behind everything that was launched so far."""


class _Submitted(NamedTuple):
    tickets: list[int]
    end: Mark


class _Load:
    """Loaded pages that a forward has still to wait for, group of layers by group."""

    def __init__(self, last_layers: list[int], marks: list[Mark]) -> None:
        self._left = deque(zip(last_layers, marks, strict=True))
        self.end = marks[-1]
        self._held = -1
        """The last layer that was waited for."""

    def hold(self, layer: int) -> bool:
        """Wait for the groups up to that of `layer`; whether any are left.

        Steps of a lane run in order: the last group needed stands for those before it.
        """
        needed: Mark | None = None
        while self._left and layer > self._held:
            self._held, needed = self._left.popleft()
        if needed is not None:
            needed.hold()
        return bool(self._left)


class ArenaTransfers:
    """`Transfers` between a device arena and a host arena of the same shapes."""

    def __init__(
        self,
        device: Side,
        host: Side,
        copiers: Copiers,
        lanes: Lanes,
        *,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        if device.geometry.with_budget(host.raw.numel()) != host.geometry:
            raise ValueError("the arenas' frames have different shapes")
        self._device = device
        self._host = host
        self._here, self._there = Places.of(device.geometry), Places.of(host.geometry)
        self._copiers = copiers
        self._lanes = lanes
        self._group_bytes = group_bytes
        self._asked: list[Order] = []
        self._under_way: dict[Direction, deque[_Submitted]] = {d: deque() for d in Direction}
        self._states: Mark | None = None
        self._loads: list[_Load] = []

    # -- what decides: Transfers ----------------------------------------------------------

    def start(self, order: Order) -> None:
        """A write-back is submitted at once, a load by the next `begin_loads`.

        TransferError when places do not exist or do not match, and while a CUDA graph is being
        captured: it would contain the copy.  One of `FAILURES` when a write-back cannot be
        submitted.  What fails later is told by the outcome.
        """
        self._refuse_in_capture()
        if order.direction is Direction.LOAD_BACK:
            check_copy(order.copy, self._there, self._here)
            self._asked.append(order)
        else:
            check_copy(order.copy, self._here, self._there)
            self._write_back(order)

    def finished(self) -> list[Outcome]:
        """Never blocks.  Loads that wait for `begin_loads` are begun, so that none is forgotten.

        Behind an outcome nothing of the transfer touches either side: after a failure as well,
        the destination may be given to somebody else at once.
        """
        self.begin_loads()
        outcomes = [outcome for queue in self._under_way.values() for outcome in _ended(queue)]
        self._forget_ended_loads()
        return outcomes

    def wait(self) -> None:
        """The host waits for all transfers: for shutdown, flush and tests."""
        self.begin_loads()
        for queue in self._under_way.values():
            for submitted in queue:
                submitted.end.wait()

    def wait_loads(self) -> None:
        """The host waits for all loads: where a forward that read them has ended, no time."""
        self.begin_loads()
        for submitted in self._under_way[Direction.LOAD_BACK]:
            submitted.end.wait()

    def wait_writes(self) -> None:
        """The host waits for all write-backs, and for what was launched before them."""
        for submitted in self._under_way[Direction.WRITE_BACK]:
            submitted.end.wait()

    # -- the step -------------------------------------------------------------------------

    def begin_loads(self) -> None:
        """Submit the loads asked for since the last call; before the forward that reads them.

        Never raises what a device may: loads that cannot be submitted end with that error.

        So do they while a CUDA graph is being captured: its stream would take the copy into the
        graph.  They are not put off, for a forward that rides on them would then wait for nothing.
        A server never asks for it: graphs are captured at start, when weights change and inside a
        forward, each a call that blocks the thread which begins loads, between forwards.
        """
        if not self._asked:
            return
        asked, self._asked = self._asked, []
        try:
            self._begin(asked)
        except FAILURES as error:
            tickets = [order.ticket for order in asked]
            self._under_way[Direction.LOAD_BACK].append(_Submitted(tickets, Failed(error)))

    def _refuse_in_capture(self) -> None:
        if self._device.raw.is_cuda and torch.cuda.is_current_stream_capturing():
            raise TransferError("a CUDA graph is being captured; transfer before or after")

    def _begin(self, asked: list[Order]) -> None:
        self._refuse_in_capture()
        states, pieces = self._parts(order.copy for order in asked)
        copier, device, host = self._copiers.load, self._device, self._host
        groups = self._groups(pieces)
        steps = [_extents(self._copiers.load_states, device, host, states)] if states.nbytes else []
        before_pages = len(steps)
        if len(groups) > 1:
            steps += [_rows(copier, device, host, pieces, rows) for _, rows in groups]
        elif groups:
            pages = page_extents(pieces, self._here)
            steps.append(_extents(copier, device, host, pages))
        tickets = [order.ticket for order in asked]
        if not steps:
            steps = [_nothing]
        marks = self._lanes.load.run(steps, self._lanes.fence())
        self._under_way[Direction.LOAD_BACK].append(_Submitted(tickets, marks[-1]))
        if states.nbytes:
            self._states = marks[0]
        if groups:
            self._loads.append(_Load([last for last, _ in groups], marks[before_pages:]))

    def wait_states(self) -> None:
        """What is launched from here on reads states only after they were loaded.

        Waits for every load begun before; the host waits only where it computes itself.
        """
        if self._states is not None:
            self._states.hold()
            self._states = None

    def wait_layer(self, layer: int) -> None:
        """As `wait_states`, for K and V of attention layer `layer` (and those before it).

        A load that fails holds nobody up.  Its bytes are then undefined, and its outcome, which
        is there by the time the forward's results are, says so: they must be thrown away.
        """
        if self._loads:
            self._loads = [load for load in self._loads if load.hold(layer)]

    def close(self) -> None:
        """Wait for everything and end the lanes."""
        self.wait()
        self._lanes.write.close()
        self._lanes.load.close()

    def _forget_ended_loads(self) -> None:
        """What has ended needs no waiting for, whether or not a forward came."""
        open_ends = {id(submitted.end) for submitted in self._under_way[Direction.LOAD_BACK]}
        self._loads = [load for load in self._loads if id(load.end) in open_ends]
        if not open_ends:
            self._states = None

    # -- parts ----------------------------------------------------------------------------

    def _write_back(self, order: Order) -> None:
        states, pieces = self._parts([order.copy])
        pages = page_extents(pieces, self._here)
        both = Extents(*(a + b for a, b in zip(states, pages, strict=True)))
        step = _extents(self._copiers.write, self._host, self._device, both)
        (end,) = self._lanes.write.run([step], self._lanes.fence())
        self._under_way[Direction.WRITE_BACK].append(_Submitted([order.ticket], end))

    def _parts(self, copies: Iterable[Copy]) -> tuple[Extents, list[Piece]]:
        """All states as extents, and all pieces of pages."""
        states, pieces = Extents([], [], []), list[Piece]()
        for copy in copies:
            for column, more in zip(states, state_extents(copy, self._here), strict=True):
                column += more
            pieces += pieces_of(copy.pages_from, copy.pages_to)
        return states, pieces

    def _groups(self, pieces: list[Piece]) -> list[tuple[int, TokenRows]]:
        """`(last layer, its rows)` a group that the pages are loaded in; one group is all."""
        if not pieces:
            return []
        geometry = self._device.geometry
        size = sum(piece.pages for piece in pieces) * self._here.page_bytes
        count = group_count(size, geometry.kv.layers, self._group_bytes)
        return [
            (group.last, TokenRows.of(group, geometry))
            for group in layer_groups(geometry.kv, count)
        ]


def _extents(copier: Copier, to: Side, came: Side, extents: Extents) -> Work:
    return lambda: copier.extents(to.raw, came.raw, extents)


def _rows(copier: Copier, to: Side, came: Side, pieces: list[Piece], rows: TokenRows) -> Work:
    return lambda: copier.rows(to.raw, came.raw, pieces, rows)


def _nothing() -> None:
    """An order without pages and states ends like any other."""


def _ended(queue: deque[_Submitted]) -> Iterable[Outcome]:
    """Takes off what has ended at the queue's head."""
    while queue:
        error = None
        try:
            if not queue[0].end.reached():
                return
        except Exception as raised:
            error = describe(raised)
        for ticket in queue.popleft().tickets:
            yield Outcome(ticket, error)
