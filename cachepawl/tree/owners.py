"""Which ids the tree owns: a page or a slot that comes in twice is refused at the door."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from cachepawl.errors import ArgumentError, OwnershipError
from cachepawl.types import Runs


class Owners:
    """A set of small integers as a byte map, so that a run costs one memory operation.

    One byte an id, up to the largest id seen.
    """

    __slots__ = ("_map", "what")

    def __init__(self, what: str) -> None:
        """`what` the ids are, for messages."""
        self.what = what
        self._map = bytearray()

    def claim(self, runs: Runs) -> None:
        """Take all ids.  OwnershipError, and no change, if one is owned or occurs twice.

        Cost: the runs, and one byte an id.
        """
        owned = self._map
        for done, (first, count) in enumerate(runs.runs):
            stop = first + count
            taken = owned.find(1, first, stop) if first >= 0 else first
            if taken >= 0 or first < 0:
                for earlier, many in runs.runs[:done]:
                    owned[earlier : earlier + many] = bytes(many)
                self._refuse(taken)
            if stop > len(owned):
                owned.extend(bytes(stop - len(owned)))
            owned[first:stop] = b"\1" * count

    def refuse_owned(self, runs: Runs) -> None:
        """OwnershipError if the tree owns one of the ids.  Does not modify anything."""
        find = self._map.find
        for first, count in runs.runs:
            taken = find(1, first, first + count) if first >= 0 else first
            if taken >= 0 or first < 0:
                self._refuse(taken)

    def release(self, runs: Runs) -> None:
        """Let ids go that are owned.  Cost: as `claim`."""
        owned = self._map
        for first, count in runs.runs:
            owned[first : first + count] = bytes(count)

    def clear(self) -> None:
        """Let all ids go."""
        self._map = bytearray()

    def __contains__(self, item: int) -> bool:
        return 0 <= item < len(self._map) and self._map[item] == 1

    def __len__(self) -> int:
        """How many ids are owned.  Cost: the map."""
        return self._map.count(1)

    def wrong(self, runs: Iterable[Runs]) -> str | None:
        """What differs between this set and the given owners of its ids, for checks."""
        count = 0
        for part in runs:
            count += part.count
            for first, many in part.runs:
                if self._map[first : first + many] != b"\1" * many:
                    return f"{self.what}s {first}..{first + many - 1} are in a node but not owned"
        if count != len(self):
            return f"{len(self)} {self.what}s are owned, {count} are in nodes"
        return None

    def _refuse(self, item: int) -> NoReturn:
        if item < 0:
            raise ArgumentError(f"{self.what} {item}: ids start at 0")
        raise OwnershipError(
            f"{self.what} {item} comes in twice: a {self.what} has one owner; pass only what "
            f"the caller took from the allocator itself"
        )
