"""What a memory layout has to do for the workload."""

from __future__ import annotations

from typing import Protocol

from benchmarks.capacity.workload import Arrival


class Layout(Protocol):
    """One way to keep KV pages and states in a budget of bytes."""

    name: str
    bytes_moved: int
    worst_burst_bytes: int

    def admit(self, request: Arrival, owed: int) -> bool:
        """Give a request its states and its prompt's pages; False, when it has to wait.

        `owed` pages were promised to those that run, and whoever is admitted is promised the
        pages of its answer: growing never fails.
        """

    def grow(self, numbers: list[int]) -> None:
        """One more page for each of these requests, in turn."""

    def finish(self, number: int, *, keep: bool) -> None:
        """A request ends.  `keep`: its KV and one state stay cached until their room is wanted."""

    def live_bytes(self) -> int:
        """Bytes of KV pages and states that hold something, padding not counted."""
