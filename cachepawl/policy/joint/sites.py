"""Sites: where prompts ended or parted.  What is known of one outlives what was cached there.

Prompts are told apart by *marks*: one token of every 64, the last.  A mark costs 8 bytes,
so that many more prompts are remembered than could be by their tokens.  Prompts whose marks
are the same are taken for the same; where the cache knows better, it says how far they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cachepawl.policy.joint.ages import STEPS
from cachepawl.policy.joint.classes import BRANCH, Traits
from cachepawl.policy.joint.ring import Link, Ring
from cachepawl.policy.joint.spells import NONE
from cachepawl.policy.joint.survival import Table
from cachepawl.tree.edges import shared_bytes
from cachepawl.types import TOKEN_BYTES, Key

if TYPE_CHECKING:
    from cachepawl.policy.joint.units import Unit

STRIDE = 64
"""Tokens of a mark."""
MARK_BYTES = TOKEN_BYTES
MOST_SITES = 1 << 16
MOST_MARKS = 1 << 22
"""Remembered at most: 32 MiB of marks, of 256 million tokens."""
MOST_CHANCES = 8
"""Sites that are passed over to find one that can be forgotten."""


def marks_of(key: Key, stride: int) -> bytes:
    """The marks of a key's whole strides."""
    return memoryview(key.tokens).cast("q")[stride - 1 :: stride].tobytes()


class Aging(Link):
    """What is looked at when a site's age enters a step: side by side in memory, therefore."""

    __slots__ = ("device", "host", "step", "table")

    device: Unit | None
    """Which unit of the device would serve the next use."""
    host: Unit | None
    """Which one of the host."""
    step: int
    """Of the spell's age, as it was told last."""
    table: Table
    """Its class since its spell began; the start of a namespace has none."""


class Site(Aging):
    """One of them.  `parent` is the next one towards the root."""

    __slots__ = (
        "answer", "children", "edge", "end", "hook", "last", "number", "parent", "spell",
        "traits", "uses",
    )  # fmt: skip

    def __init__(self, parent: Site | None, edge: bytes, end: int, traits: Traits) -> None:
        self.parent = parent
        self.number = 0
        """Given in order of making and forgetting, so that it names it in every process."""
        self.edge = edge
        """Marks from the parent's depth to this one's."""
        self.hook = edge[:MARK_BYTES]
        """What the parent finds it by."""
        self.end = end
        """Depth in marks."""
        self.traits = traits
        self.children: dict[bytes, Site] = {}
        self.uses = 0
        self.last = 0
        """Time of the latest use, or of the making, in milliseconds."""
        self.spell = NONE
        self.step = STEPS - 1
        self.device = None
        self.host = None
        self.answer: Site | None = None
        """Of a prompt's end: where its latest answer ended.  That one is in no trie."""

    def __repr__(self) -> str:
        kind = ("end", "branch", "answer")[self.traits.kind]
        return f"<Site {kind} {self.traits.depth} turn {self.traits.turn} uses {self.uses}>"

    @property
    def carriers(self) -> tuple[Unit | None, Unit | None]:
        """By tier, the device first."""
        return self.device, self.host

    def carry(self, place: int, unit: Unit | None) -> None:
        """That unit carries it in the tier of this place from now on, or none does."""
        if place:
            self.host = unit
        else:
            self.device = unit


class Walk(NamedTuple):
    """How far a key is known.  Depths in marks."""

    site: Site
    """The deepest one that is wholly on the way."""
    end: int
    """Depth to which the marks are known; beyond the site when they part inside an edge."""
    below: Site | None
    """The site at the end of that edge."""

    @property
    def facts(self) -> tuple[int, int, int]:
        """The same for another process that has the same sites."""
        return self.site.number, self.end, 0 if self.below is None else self.below.number


class Sites:
    """A trie of sites; every walk costs its path.

    Of too many the one goes that was not used for longest of those without a site below, and
    then, before any other, the one above it if that has none below any more.
    """

    def __init__(self, most_sites: int = MOST_SITES, most_marks: int = MOST_MARKS) -> None:
        self._most_sites = most_sites
        self._most_marks = most_marks
        self._roots: dict[bytes, Site] = {}
        self._order: Ring[Site] = Ring()
        """Longest not used first."""
        self._bared: Site | None = None
        """Above the one that was forgotten last, if nothing is below it now and no use is later."""
        self._numbered: list[Site | None] = [None]
        """By number; 0 is nobody's."""
        self._free: list[int] = []
        """Numbers of forgotten ones."""
        self.marks = 0
        """Held by all edges."""

    def __len__(self) -> int:
        return len(self._numbered) - 1 - len(self._free)

    def __iter__(self) -> Iterator[Site]:
        """Longest not used first."""
        return iter(self._order)

    def walk(self, marks: bytes, namespace: bytes) -> Walk:
        """Follow marks.  Does not modify anything."""
        site = self._roots.get(namespace) or root_of(namespace)
        at = 0
        while True:
            child = site.children.get(marks[at : at + MARK_BYTES])
            if child is None:
                return Walk(site, site.end, None)
            if not marks.startswith(child.edge, at):
                at += shared_bytes(child.edge, marks, at, MARK_BYTES)
                return Walk(site, at // MARK_BYTES, child)
            at += len(child.edge)
            site = child

    def recall(self, facts: tuple[int, ...], namespace: bytes) -> Walk:
        """The walk that had these facts; IndexError for numbers that were never given."""
        number, end, below = facts
        site = self._numbered[number] if number else self._roots.get(namespace)
        return Walk(site or root_of(namespace), end, self._numbered[below])

    def make(self, walk: Walk, marks: bytes, end: int, traits: Traits) -> Site:
        """A new site on a walked way: at `walk.end`, or deeper where nothing is known.

        Where the way is known it cuts an edge.
        """
        above, below = walk.site, walk.below if end == walk.end else None
        site = Site(above, marks[above.end * MARK_BYTES : end * MARK_BYTES], end, traits)
        if self._free:
            site.number = self._free.pop()
            self._numbered[site.number] = site
        else:
            site.number = len(self._numbered)
            self._numbered.append(site)
        if above.parent is None:
            self._roots[above.edge] = above
        if below is None:
            self.marks += len(site.edge) // MARK_BYTES
            above.children[site.hook] = site
        else:
            self._cut(above, site, below)
        self._order.join(site)
        return site

    @staticmethod
    def _cut(above: Site, site: Site, below: Site) -> None:
        """Put a site on the edge to another."""
        site.hook = below.hook
        above.children[site.hook] = site
        below.edge = below.edge[len(site.edge) :]
        below.hook = below.edge[:MARK_BYTES]
        below.parent = site
        site.children[below.hook] = below

    def touch(self, site: Site) -> None:
        """It is the latest used."""
        if site is self._bared:
            self._bared = None
        self._order.leave(site)
        self._order.join(site)

    def excess(self) -> Site | None:
        """A site that is to be forgotten, for there are too many; None if none comes up soon."""
        count = len(self._numbered) - 1 - len(self._free)
        if count <= self._most_sites and self.marks <= self._most_marks:
            return None
        bared = self._bared
        if bared is not None and not bared.children:
            return bared
        for _ in range(MOST_CHANCES):
            site = self._order.first()
            if not site.children:
                return site
            self.touch(site)
        return None

    def forget(self, site: Site) -> None:
        """Take out a site without children."""
        parent = site.parent
        assert parent is not None
        assert not site.children
        self._order.leave(site)
        del parent.children[site.hook]
        self._numbered[site.number] = None
        self._free.append(site.number)
        self.marks -= len(site.edge) // MARK_BYTES
        bare = parent.parent is not None and not parent.children
        self._bared = parent if bare and parent.last <= site.last else None
        if parent.parent is None and not parent.children:
            del self._roots[parent.edge]


def root_of(namespace: bytes) -> Site:
    """The start of a namespace; its edge is the name."""
    return Site(None, namespace, 0, Traits(BRANCH, 0, None, 0))
