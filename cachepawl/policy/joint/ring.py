"""Things in order of arrival; joining and leaving are O(1) at any size.

The links are in the things themselves.  An `OrderedDict` does the same, but now and then a
single step of it costs its whole size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar, cast


class Link:
    """What can stand in one ring."""

    __slots__ = ("newer", "older")

    newer: Link
    older: Link


T = TypeVar("T", bound=Link)


class Ring(Generic[T]):
    """Some of them, longest there first.  A thing stands in one ring at most."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = ends = Link()
        """Closes the order: `newer` is the first, `older` the last."""
        ends.newer = ends.older = ends

    @property
    def empty(self) -> bool:
        ends = self._ends
        return ends.newer is ends

    def first(self) -> T:
        """What is there longest; the ring is not empty."""
        return cast("T", self._ends.newer)

    def join(self, thing: T) -> None:
        """The last from now on.  It stands in no ring."""
        ends = self._ends
        last = ends.older
        thing.older, thing.newer = last, ends
        last.newer = ends.older = thing

    @staticmethod
    def leave(thing: Link) -> None:
        """It stands in no ring any more.  It stood in one; AttributeError otherwise."""
        older, newer = thing.older, thing.newer
        older.newer, newer.older = newer, older
        del thing.older, thing.newer

    def __iter__(self) -> Iterator[T]:
        thing = self._ends.newer
        while thing is not self._ends:
            yield cast("T", thing)
            thing = thing.newer
