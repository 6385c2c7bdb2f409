"""Sites: where prompts ended or parted.  What is known of one outlives what was cached there.

Prompts are told apart by *marks*: one token of every 64, the last.  A mark costs 8 bytes,
so that many more prompts are remembered than could be by their tokens.  Prompts whose marks
are the same are taken for the same; where the cache knows better, it says how far they are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from cachepawl.policy.joint.ages import LAST
from cachepawl.policy.joint.classes import BRANCH, Traits
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


def marks_of(key: Key) -> bytes:
    """The marks of a key's whole strides."""
    return memoryview(key.tokens).cast("q")[STRIDE - 1 :: STRIDE].tobytes()


class Site:
    """One of them.  `parent` is the next one towards the root."""

    __slots__ = (
        "carrier", "children", "edge", "end", "last", "level", "parent", "spell", "table",
        "traits", "uses",
    )  # fmt: skip

    def __init__(self, parent: Site | None, edge: bytes, end: int, traits: Traits) -> None:
        self.parent = parent
        self.edge = edge
        """Marks from the parent's depth to this one's."""
        self.end = end
        """Depth in marks."""
        self.traits = traits
        self.children: dict[bytes, Site] = {}
        self.uses = 0
        self.last = 0
        """Time of the latest use, or of the making, in milliseconds."""
        self.spell = NONE
        self.level = LAST
        """Of the spell's age, as it was told last."""
        self.table: Table | None = None
        self.carrier: Unit | None = None
        """Which unit of the cache would serve the next use."""

    def __repr__(self) -> str:
        kind = ("end", "branch", "answer")[self.traits.kind]
        return f"<Site {kind} {self.end * STRIDE} turn {self.traits.turn} uses {self.uses}>"


class Walk(NamedTuple):
    """How far marks are known."""

    marks: bytes
    site: Site
    """The deepest one that is wholly on the way."""
    end: int
    """Depth in marks to which they are known; beyond the site when they part inside an edge."""


class Sites:
    """A trie of sites, the latest used; every walk costs its path."""

    def __init__(self, most_sites: int = MOST_SITES, most_marks: int = MOST_MARKS) -> None:
        self._most_sites = most_sites
        self._most_marks = most_marks
        self._roots: dict[bytes, Site] = {}
        self._order: OrderedDict[Site, None] = OrderedDict()
        """Longest not used first; a parent behind its children."""
        self._marks = 0

    def __len__(self) -> int:
        return len(self._order)

    def walk(self, key: Key, most: int | None = None) -> Walk:
        """Follow a key, at most `most` marks deep.  Does not modify anything."""
        marks = marks_of(key)
        if most is not None:
            marks = marks[: most * MARK_BYTES]
        site = self._roots.get(key.namespace) or _root(key.namespace)
        at = 0
        while True:
            child = site.children.get(marks[at : at + MARK_BYTES])
            if child is None:
                return Walk(marks, site, site.end)
            if not marks.startswith(child.edge, at):
                at += shared_bytes(child.edge, marks, at, MARK_BYTES)
                return Walk(marks, site, at // MARK_BYTES)
            at += len(child.edge)
            site = child

    def make(self, walk: Walk, end: int, traits: Traits) -> Site:
        """A new site on a walked way, at a depth where there is none yet.

        On an edge, which is cut there, or a new end that hangs on `walk.site`.
        """
        above = walk.site
        while above.parent is not None and above.end > end:
            above = above.parent
        at = above.end * MARK_BYTES
        hook = walk.marks[at : at + MARK_BYTES]
        site = Site(above, walk.marks[at : end * MARK_BYTES], end, traits)
        below = above.children.get(hook)
        above.children[hook] = site
        if below is not None:
            below.edge = below.edge[len(site.edge) :]
            below.parent = site
            site.children[below.edge[:MARK_BYTES]] = below
        else:
            self._marks += len(site.edge) // MARK_BYTES
        if above.parent is None:
            self._roots[above.edge] = above
        self._order[site] = None
        return site

    def touch(self, site: Site) -> None:
        """The path to a site is the latest used."""
        while site.parent is not None:
            self._order.move_to_end(site)
            site = site.parent

    def excess(self) -> Site | None:
        """A site that is to be forgotten, for there are too many."""
        if len(self._order) > self._most_sites or self._marks > self._most_marks:
            return next(iter(self._order))
        return None

    def forget(self, site: Site) -> None:
        """Take out a site without children."""
        parent = site.parent
        assert parent is not None
        assert not site.children
        del parent.children[site.edge[:MARK_BYTES]]
        del self._order[site]
        self._marks -= len(site.edge) // MARK_BYTES
        if parent.parent is None and not parent.children:
            del self._roots[parent.edge]


def _root(namespace: bytes) -> Site:
    """The start of a namespace; its edge is the name."""
    return Site(None, namespace, 0, Traits(BRANCH, 0, None, 0))
