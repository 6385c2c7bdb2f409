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


class Ring(Link, Generic[T]):
    """Some of them, longest there first.  A thing stands in one ring at most.

    It closes the order itself: `newer` is the first, `older` the last.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.newer = self.older = self

    @property
    def empty(self) -> bool:
        return self.newer is self

    def first(self) -> T:
        """What is there longest; the ring is not empty."""
        return cast("T", self.newer)

    def join(self, thing: T) -> None:
        """The last from now on.  It stands in no ring."""
        last = self.older
        thing.older, thing.newer = last, self
        last.newer = self.older = thing

    @staticmethod
    def leave(thing: Link) -> None:
        """It stands in no ring any more.  It stood in one; AttributeError otherwise."""
        older, newer = thing.older, thing.newer
        older.newer, newer.older = newer, older
        del thing.older, thing.newer

    def __iter__(self) -> Iterator[T]:
        thing = self.newer
        while thing is not self:
            yield cast("T", thing)
            thing = thing.newer
