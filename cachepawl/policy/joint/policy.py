"""The policy `joint`: keep what saves the most tokens for each byte and second it is held.

Of every unit (see `units`) it knows the sites that it would serve, and of every site how soon
such sites were used again (see `survival`).  A unit's score is

    sum over its sites of uses a second  x  tokens saved a use / bytes freed

and the unit with the lowest score goes.  Its sites go on to the next shallower unit.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.policy.base import EvictionPolicy, Facts, Kind, Victim
from cachepawl.policy.joint.checks import violations
from cachepawl.policy.joint.classes import ANSWER, BRANCH, END, Classes, Traits
from cachepawl.policy.joint.history import OldSpell
from cachepawl.policy.joint.ranks import Queue, rank_of
from cachepawl.policy.joint.reasons import why
from cachepawl.policy.joint.sites import MARK_BYTES, STRIDE, Site, Sites, Walk, marks_of
from cachepawl.policy.joint.spells import Spells
from cachepawl.policy.joint.units import Bytes, Unit, above, frees_kv, is_unit, saving
from cachepawl.policy.lru import LRU
from cachepawl.tree import Node, RadixTree
from cachepawl.types import TOKEN_BYTES, Key

MOST_ADVANCES = 64
"""Levels of age entered in one step."""
MOST_LOOKS = 16
"""Units that are looked at again to find one victim."""


class Joint(EvictionPolicy):
    """For one cache, from its first call on."""

    name = "joint"
    learns = True
    stride = STRIDE
    """Tokens of a mark."""
    most_claims = 2
    """Sites that a unit carries."""

    def __init__(self) -> None:
        self.cost = Bytes(1.0, 1.0)
        self._old: list[OldSpell] = []
        self._fresh()

    def remember(self, spells: list[OldSpell]) -> None:
        """Know what an earlier run learned; before the first request, and after every reset."""
        self._old = spells
        self._fresh()

    def learned(self) -> Iterator[OldSpell]:
        """What it knows at this moment, for a later run; oldest first.  May be read anywhere."""
        return _old_spells(self.spells.copy(), self.now)

    def _fresh(self) -> None:
        self.now = 0
        self.classes = Classes()
        self.spells: Spells[Site] = Spells()
        self.sites = Sites()
        self.units: dict[Node, Unit] = {}
        self.leaves: Queue[Unit] = Queue()
        """Units whose KV could go with them."""
        self.inner: Queue[Unit] = Queue()
        """Units of which only the state could go."""
        self.rows: dict[int, Site] = {}
        """Where the prompts of running requests end."""
        self._beside: Node | None = None
        for spell in self._old:
            self.spells.add_old(self.classes.known(spell.key), spell.age, spell.ended)

    # What it is told

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        self.cost = Bytes(token_bytes, state_bytes)

    def emptied(self, tree: RadixTree) -> None:
        self._fresh()

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        self._settle(tree)
        self.now = max(self.now, at)
        self._advance()
        marks, found = marks_of(key, self.stride), tree.peek(key)
        if recalled is None:
            walk = self.sites.walk(marks, key.namespace)
        else:
            walk = self.sites.recall(recalled, key.namespace)
        facts = walk.facts
        # The last token is always computed; and where the tree knows that prompts part, marks
        # that agree by chance mean nothing.
        last = len(key.tokens) // TOKEN_BYTES - 1
        parted = found.kv_len < found.deepest.end
        limit = min(last, found.kv_len) if parted else last
        self.rows[row] = self._learn(walk, marks, limit, found.kv_len)
        while (old := self.sites.excess()) is not None:
            self._forget(old)
        return facts

    def _learn(self, walk: Walk, marks: bytes, limit: int, known: int) -> Site:
        """Uses of sites on the way, new ones where it parts and ends; returns the end."""
        total = len(marks) // MARK_BYTES
        used = walk.site
        while used.parent is not None and used.end * self.stride > limit:
            used = used.parent
        turn, gap = 0, None
        if used.parent is not None:
            if used.end * 2 >= total:
                turn, gap = used.traits.turn + 1, self.now - used.last
            self._use(used)
            self._use_answer(used, known)
        if max(used.end, walk.site.end) < walk.end < total:
            traits = Traits(BRANCH, 0, None, walk.end * self.stride)
            branch = self.sites.make(walk, marks, walk.end, traits)
            self._use(branch)
            walk = Walk(branch, walk.end, None)
        end = walk.site
        if end.end < total:
            end = self.sites.make(walk, marks, total, Traits(END, turn, gap, total * self.stride))
            self._start(end)
        elif end is not used and end.parent is not None and total * self.stride - 1 <= limit:
            self._use(end)
        self.sites.touch(end)
        return end

    def _use(self, site: Site) -> None:
        self.spells.end(site.spell, self.now)
        site.uses += 1
        self._start(site)
        if site.carrier is not None:
            self._score(site.carrier)

    def _use_answer(self, site: Site, known: int) -> None:
        """A prompt went on behind a prompt; behind its answer too, if the tree has seen so."""
        answer = site.answer
        if answer is None:
            return
        carrier = answer.carrier
        if carrier is None or carrier.node.end < answer.end:
            self.spells.void(answer.spell)  # it was evicted: nobody knows
            self._drop_answer(site)
        elif known >= answer.end:
            self._use(answer)

    def _drop_answer(self, site: Site) -> None:
        answer, site.answer = site.answer, None
        if answer is not None:
            self.spells.disown(answer.spell)
            self._let_go(answer)

    def _start(self, site: Site) -> None:
        site.last = self.now
        site.level = 0
        site.table = self.classes.table(site.traits, site.uses)
        site.spell = self.spells.begin(site.table, site, self.now)

    def _forget(self, site: Site) -> None:
        self._drop_answer(site)
        self.spells.disown(site.spell)
        self._let_go(site)
        self.sites.forget(site)

    def _let_go(self, site: Site) -> None:
        unit, site.carrier = site.carrier, None
        if unit is not None:
            unit.sites.remove(site)
            self._score(unit)

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        self._settle(tree)
        if not is_unit(tree, node):
            return
        unit = self._unit(node)
        end = self.rows.get(row)
        if end is not None and node.end // self.stride > end.end:
            self._answer(end, unit)
        elif end is not None:
            self._take_over(tree, end, unit)
        # What is above saves as much and frees less than before: noticed when it comes up.
        self._look(tree, unit)

    def _take_over(self, tree: RadixTree, site: Site, unit: Unit) -> None:
        """Sites from a path's end up to the unit are its own now, unless a deeper one has them."""
        reach, depth = unit.node.end // self.stride, unit.node.end
        while site.parent is not None and site.end >= reach:
            before = site.carrier
            if before is None or before.node.end < depth:
                self._let_go(site)
                self._claim(unit, site)
            site = site.parent

    def _answer(self, end: Site, unit: Unit) -> None:
        """An answer was published down to the unit: the next turn may start from there."""
        self._drop_answer(end)
        turn, gap, depth = end.traits.turn, end.traits.gap, unit.node.end
        end.answer = answer = Site(end, b"", depth, Traits(ANSWER, turn, gap, depth))
        self._start(answer)
        self._claim(unit, answer)

    def ended(self, tree: RadixTree, row: int) -> None:
        self.rows.pop(row, None)

    def _unit(self, node: Node) -> Unit:
        unit = self.units.get(node)
        if unit is None:
            unit = self.units[node] = Unit(node)
        return unit

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        self._settle(tree)
        node = victim.node
        unit = self.units.pop(node, None)
        if unit is None:
            return
        self._dequeue(unit)
        heir = above(tree, node)
        for site in unit.sites:
            site.carrier = None
            if heir.parent is not None:
                self._claim(self._unit(heir), site)
        self._beside = node.parent if victim.kind == "kv" else node

    def unlocked(self, tree: RadixTree, node: Node) -> None:
        unit = self.units.get(node)
        if unit is not None and (unit.rank < 0 or unit.leaf != frees_kv(node)):
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
            rank, leaf = unit.rank, unit.leaf
            if looks < MOST_LOOKS:
                looks += 1
                self._look(tree, unit)
                if unit.rank != rank or unit.leaf != leaf:
                    continue
            if frees_kv(unit.node) if leaf else not unit.node.state_lock:
                return unit
            self._dequeue(unit)

    def _first(self, kind: Kind | None) -> Unit | None:
        leaf = self.leaves.first()
        inner = self.inner.first() if kind != "kv" else None
        if inner is None or (leaf is not None and leaf[0] <= inner[0]):
            return None if leaf is None else leaf[1]
        return inner[1]

    # Keeping scores

    def look_at_all(self, tree: RadixTree) -> None:
        """Bring every score up to date.  Cost: all units; nothing that serves does this."""
        self._settle(tree)
        for table in self.classes.tables.values():
            table.outdate()
        for unit in self.units.values():
            self._look(tree, unit)

    def _advance(self) -> None:
        for site, level in self.spells.advance(self.now, MOST_ADVANCES):
            site.level = level
            if site.carrier is not None:
                self._score(site.carrier)

    def _claim(self, unit: Unit, site: Site) -> None:
        """The unit carries a site; of too many the one that is used least goes."""
        unit.sites.append(site)
        site.carrier = unit
        if len(unit.sites) > self.most_claims:
            least = min(unit.sites, key=_worth)
            least.carrier = None
            unit.sites.remove(least)

    def _look(self, tree: RadixTree, unit: Unit) -> None:
        """Work out what the unit saves and put it where it belongs."""
        node = unit.node
        leaf = frees_kv(node)
        possible = leaf or (node.state is not None and not node.state_lock)
        if unit.rank >= 0 and (leaf != unit.leaf or not possible):
            self._dequeue(unit)
        unit.leaf = leaf
        unit.saving = saving(tree, node, self.cost)
        if possible:
            if unit.rank < 0:
                unit.score = _score_of(unit)
                unit.rank = rank_of(unit.score)
                (self.leaves if leaf else self.inner).add(unit, unit.rank)
            else:
                self._score(unit)

    def _score(self, unit: Unit) -> None:
        """Its sites changed: move it in its queue."""
        if unit.rank < 0:
            return
        score = _score_of(unit)
        if score == unit.score:
            return
        unit.score = score
        rank = rank_of(score)
        if rank != unit.rank:
            queue = self.leaves if unit.leaf else self.inner
            queue.remove(unit, unit.rank)
            queue.add(unit, rank)
            unit.rank = rank

    def _dequeue(self, unit: Unit) -> None:
        if unit.rank >= 0:
            (self.leaves if unit.leaf else self.inner).remove(unit, unit.rank)
            unit.rank = -1

    def _settle(self, tree: RadixTree) -> None:
        """Units beside what has left free other bytes than before."""
        node, self._beside = self._beside, None
        if node is None or node.owner is not tree.root:
            return
        up = node if is_unit(tree, node) or node.parent is None else above(tree, node)
        if up.parent is not None:
            self._look(tree, self._unit(up))
        while len(node.children) == 1:
            (node,) = node.children.values()
            unit = self.units.get(node)
            if unit is not None:
                self._look(tree, unit)
            if node.state is not None:
                break


def _score_of(unit: Unit) -> float:
    uses = 0.0
    for site in unit.sites:
        assert site.table is not None
        uses += site.table.index(site.level)
    return uses * unit.saving


def _worth(site: Site) -> float:
    assert site.table is not None
    return site.table.index(site.level)


def _old_spells(spells: Spells[Site], now: int) -> Iterator[OldSpell]:
    for spell in spells.remembered(now):
        yield OldSpell(spell.table.key, spell.age, spell.ended)
