"""The policy `joint`: keep what saves the most tokens for each byte and second it is held.

Of every unit (see `units`) it knows the sites that it would serve, and of every site how soon
such sites were used again (see `requests`).  A unit's score is

    sum over its sites of uses a second  x  tokens saved a use / bytes freed

(a unit without a site counts as used as seldom as what was left for an hour), and the unit with
the lowest score goes.  Its sites go on to the next shallower unit.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.policy.base import EvictionPolicy, Facts, Kind, Victim
from cachepawl.policy.joint.checks import violations
from cachepawl.policy.joint.history import OldSpell
from cachepawl.policy.joint.ranks import Queue, withdraw
from cachepawl.policy.joint.reasons import why
from cachepawl.policy.joint.requests import Requests
from cachepawl.policy.joint.sites import STRIDE, Site
from cachepawl.policy.joint.units import Bytes, Unit, Units, above, frees_kv, is_unit, pair, saving
from cachepawl.policy.lru import LRU
from cachepawl.tree import Node, RadixTree
from cachepawl.types import TOKEN_BYTES, Key

MOST_LOOKS = 16
"""Units that are looked at again to find one victim."""


class Joint(EvictionPolicy):
    """For one cache, from its first call on; `beside` makes one for a tier below it."""

    name = "joint"
    learns = True
    stride = STRIDE
    """Tokens of a mark."""
    most_claims = 2
    """Sites that a unit carries."""
    tree: RadixTree

    def __init__(self, requests: Requests | None = None) -> None:
        self.requests = Requests(self.stride) if requests is None else requests
        """What all tiers share."""
        self.place = 0
        """Which of a site's carriers is a unit of this tier."""
        self.cost = Bytes(1.0, 1.0)
        self._fresh()

    def beside(self) -> Joint:
        """It learns from the same requests, and carries the same sites."""
        return type(self)(self.requests)

    def remember(self, spells: list[OldSpell]) -> None:
        """Know what an earlier run learned; before the first request, and after every reset."""
        self.requests.remember(spells)

    def learned(self) -> Iterator[OldSpell]:
        """What it knows at one moment, for a later run; oldest first.  Any thread may ask.

        UnsettledError if that moment does not come.
        """
        return self.requests.learned()

    def _fresh(self) -> None:
        self.units = Units()
        self.leaves: Queue[Unit] = Queue()
        """Units whose KV could go with them."""
        self.inner: Queue[Unit] = Queue()
        """Units of which only the state could go."""
        self.rows: dict[int, tuple[Site, int]] = {}
        """Where the prompts of running requests end: the site, and tokens."""
        self._beside: Node | None = None

    # What it is told

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        self.tree = tree
        self.cost = Bytes(token_bytes, state_bytes)
        self.place = len(self.requests.tiers)
        self.requests.tiers.append(self)

    def emptied(self, tree: RadixTree) -> None:
        """The tier that requests run on forgets what they taught as well."""
        for unit in self.units:
            unit.part()
            for site in unit.sites:
                site.carry(self.place, None)
        self._fresh()
        if self.place == 0:
            self.requests.forget_all()

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        if self._beside is not None:
            self._settle(tree)
        facts, end = self.requests.began(key, at, recalled)
        self.rows[row] = end, len(key.tokens) // TOKEN_BYTES
        return facts

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        if self._beside is not None:
            self._settle(tree)
        if not is_unit(tree, node):
            return
        unit = self.units.of(node)
        if row in self.rows:
            end, prompt = self.rows[row]
            if node.end > prompt:
                self._claim(unit, self.requests.answered(end, node.end))
            else:
                self._take_over(end, unit)
        # What is above saves as much and frees less than before: noticed when it comes up.
        self._look(tree, unit)

    def _take_over(self, site: Site, unit: Unit) -> None:
        """Sites from a path's end up to the unit are its own now, unless a deeper one has them."""
        reach, depth = unit.node.end // self.stride, unit.node.end
        while site.parent is not None and site.end >= reach:
            self._take(site, unit, depth)
            site = site.parent

    def _take(self, site: Site, unit: Unit, depth: int) -> None:
        """The unit carries a site from now on, unless a deeper one does."""
        before = site.carriers[self.place]
        if before is None:
            self._claim(unit, site)
        elif before.node.end < depth:
            self.let_go(site)
            self._claim(unit, site)

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        """The unit serves what its source would: sites are where the bytes are.

        What a device has and its host too is lost at the price of a load.
        """
        if self._beside is not None:
            self._settle(tree)
        if not is_unit(tree, node):
            return
        unit = self.units.of(node)
        for tier in self.requests.tiers:
            assert isinstance(tier, Joint)
            there = tier.units.get(source)
            if there is None:
                continue
            for site in there.sites:
                self._take(site, unit, node.end)
            if tier.place < self.place:
                pair(there, unit)
                tier.score(there)
            else:
                pair(unit, there)
        self._look(tree, unit)

    def ended(self, tree: RadixTree, row: int) -> None:
        self.rows.pop(row, None)

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        if self._beside is not None:
            self._settle(tree)
        node = victim.node
        unit = self.units.get(node)
        if unit is None:
            return
        left, unit.sites = unit.sites, ()
        heir = above(tree, node)
        for site in left:
            site.carry(self.place, None)
            if heir.parent is not None:
                self._claim(self.units.of(heir), site)
        if victim.kind == "window":
            self.score(unit)
            return
        withdraw(unit)
        unit.part()
        self.units.drop(node)
        if victim.kind == "kv":
            self._beside = _survivor(tree, node)

    def unlocked(self, tree: RadixTree, node: Node) -> None:
        unit = self.units.get(node)
        if unit is None:
            return
        queue = self.leaves if frees_kv(node) else self.inner
        if unit.rank is None or unit.rank.queue is not queue:
            self._look(tree, unit)

    # Looking at it

    @property
    def settled(self) -> bool:
        """Whether all that the latest eviction touched was looked at again."""
        return self._beside is None

    def violations(self, tree: RadixTree) -> list[str]:
        return violations(self, tree)

    # Naming

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        cold = tree.kv_victim()
        if kind != "state" and cold is not None and tree.has_states and not cold.kv_stamp:
            return Victim(cold, "kv")
        if self._beside is not None:
            self._settle(tree)
        named = kind != "window" and (kind != "state" or tree.has_states)
        unit = self._lowest(tree, kind) if named else None
        if unit is None:
            return LRU.victim(tree, kind)
        if kind == "state" or not frees_kv(unit.node):
            return Victim(unit.node, "state")
        return Victim(unit.node, "kv")

    def reason(self, tree: RadixTree, victim: Victim) -> str:
        unit = self.units.get(victim.node)
        if unit is None:
            return LRU.reason(tree, victim)
        return why(self, unit)

    def _lowest(self, tree: RadixTree, kind: Kind | None) -> Unit | None:
        """The first of the queues that can go and stands where it should."""
        looks = 0
        while True:
            unit = self._first(kind)
            if unit is None:
                return None
            rank = unit.rank
            if looks < MOST_LOOKS:
                looks += 1
                self._look(tree, unit)
                if unit.rank is not rank:
                    continue
            if self._can_go(unit):
                return unit
            withdraw(unit)

    def _can_go(self, unit: Unit) -> bool:
        """Whether nothing keeps what its queue says that it would free."""
        assert unit.rank is not None
        node = unit.node
        return frees_kv(node) if unit.rank.queue is self.leaves else not node.state_lock

    def _first(self, kind: Kind | None) -> Unit | None:
        lowest = self.leaves.lowest()
        if kind != "kv":
            inner = self.inner.lowest()
            if lowest is None or (inner is not None and inner.number < lowest.number):
                lowest = inner
        return None if lowest is None else lowest.first()

    # Keeping scores

    def look_at_all(self, tree: RadixTree) -> None:
        """Bring every score up to date.  Cost: all units; nothing that serves does this."""
        if self._beside is not None:
            self._settle(tree)
        self.requests.classes.work_all()
        for unit in self.units:
            self._look(tree, unit)

    def let_go(self, site: Site) -> None:
        """No unit of this tier carries a site any more."""
        unit = site.carriers[self.place]
        site.carry(self.place, None)
        if unit is not None:
            unit.sites = _without(unit.sites, site)
            self.score(unit)

    def _claim(self, unit: Unit, site: Site) -> None:
        """The unit carries a site; of too many the one that is used least goes."""
        site.carry(self.place, unit)
        sites = (*unit.sites, site)
        if len(sites) > self.most_claims:
            least = min(sites, key=_worth)
            least.carry(self.place, None)
            sites = _without(sites, least)
        unit.sites = sites

    def _look(self, tree: RadixTree, unit: Unit) -> None:
        """Work out what the unit saves and put it where it belongs."""
        node = unit.node
        leaf = not node.children and not node.full_lock
        unit.saving = saving(tree, node, self.cost, leaf)
        if leaf or (node.state is not None and not node.state_lock):
            score = unit.score(self.requests.classes.coarsest)
            (self.leaves if leaf else self.inner).put(unit, score)
        else:
            withdraw(unit)

    def worth(self, unit: Unit) -> float:
        """Its score, by what is known now."""
        return unit.score(self.requests.classes.coarsest)

    def score(self, unit: Unit) -> None:
        """Its sites changed: move it in its queue."""
        if unit.rank is not None:
            unit.rank.queue.put(unit, self.worth(unit))

    def _settle(self, tree: RadixTree) -> None:
        """After KV has left: what is a leaf now, or was beside it under a fork, frees more.

        What else changed saves more than before, which is noticed when it comes up.
        """
        node, self._beside = self._beside, None
        if node is None or node.owner is not tree.root or node.parent is None:
            return
        if is_unit(tree, node):
            if not node.children:
                self._look(tree, self.units.of(node))
            return
        while len(node.children) == 1:
            (node,) = node.children.values()
            unit = self.units.get(node)
            if unit is not None:
                self._look(tree, unit)
                break


def _survivor(tree: RadixTree, leaf: Node) -> Node:
    """What is left above a leaf when it goes with its KV, as `evict_kv` says."""
    up = leaf.parent
    assert up is not None  # the root is never a leaf of anything
    while up.parent is not None and tree.has_states and up.state is None:
        if len(up.children) > 1 or up.full_lock:
            break
        up = up.parent
    return up


def _without(sites: tuple[Site, ...], one: Site) -> tuple[Site, ...]:
    return tuple(site for site in sites if site is not one)


def _worth(site: Site) -> float:
    return site.table.rates[site.step]
