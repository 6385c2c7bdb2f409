"""What requests teach: which sites there are, how often and how soon each is used again.

It is of no tier.  The policies of all tiers of a cache share it, so that a request is one use
wherever its prefix was, and what one tier gives up another one still knows the worth of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from cachepawl.errors import UnsettledError
from cachepawl.policy.base import Facts
from cachepawl.policy.joint.classes import ANSWER, BRANCH, END, Classes, Traits
from cachepawl.policy.joint.history import OldSpell
from cachepawl.policy.joint.sites import MARK_BYTES, Site, Sites, Walk, marks_of
from cachepawl.policy.joint.spells import Spells
from cachepawl.policy.joint.survival import Table
from cachepawl.tree import RadixTree
from cachepawl.types import TOKEN_BYTES, Key

MOST_ADVANCES = 16
"""Levels of age entered in one step; a request begins two or three spells of eight each."""
WORK_EVERY = 2
"""A table is worked out anew at every so many requests, while any has news."""
MOST_FORGOTTEN = 32
"""Sites forgotten in one step."""
LOOKS, NAP = 100, 0.01
"""How often another thread tries to read what is known, and the seconds in between."""


class Tier(Protocol):
    """A cache's policy, as far as its units carry sites."""

    tree: RadixTree

    def let_go(self, site: Site) -> None:
        """No unit of this tier carries the site any more."""


class Requests:
    """Sites, spells and time.  `stride`: tokens of a mark."""

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self.tiers: list[Tier] = []
        """In the order of `Site.carriers`."""
        self._old: list[OldSpell] = []
        self._changes = 0
        """Beginnings and ends of what changes spells: odd while that goes on."""
        self.forget_all()

    def remember(self, spells: list[OldSpell]) -> None:
        """Know what an earlier run learned; before the first request, and after `forget_all`."""
        self._old = spells
        self.forget_all()

    def learned(self) -> Iterator[OldSpell]:
        """What is known at one moment, for a later run; oldest first.  Any thread may ask.

        Who learns never waits for who reads: a copy during which something changed is thrown
        away.  UnsettledError after `LOOKS` such copies.
        """
        for look in range(LOOKS):
            if look:
                time.sleep(NAP)
            before = self._changes
            if before % 2:
                continue
            spells, now = self.spells.copy(), self.now
            if self._changes == before:
                return _old_spells(spells, now)
        raise UnsettledError(f"what was learned changed during each of {LOOKS} copies")

    def forget_all(self) -> None:
        """As before the first request.  No unit may carry a site."""
        self._changes += 1
        try:
            self._forget_all()
        finally:
            self._changes += 1

    def _forget_all(self) -> None:
        self.now = 0
        self.heard = 0
        """Requests that began."""
        self.classes = Classes()
        self.spells: Spells[Site] = Spells()
        self.sites = Sites()
        for spell in self._old:
            self.spells.add_old(self.classes.known(spell.key), spell.age, spell.ended)
        if self._old:
            self.classes.work_all()

    # A request

    def began(self, key: Key, at: int, recalled: Facts | None) -> tuple[Facts, Site]:
        """A request asks for a prompt; what was recalled of it, and the site of its end."""
        self._changes += 1
        try:
            return self._began(key, at, recalled)
        finally:
            self._changes += 1

    def _began(self, key: Key, at: int, recalled: Facts | None) -> tuple[Facts, Site]:
        if at > self.now:
            self.now = at
        self._advance()
        self.heard += 1
        if self.heard % WORK_EVERY == 0:
            self.classes.work()
        marks = marks_of(key, self.stride)
        if recalled is None:
            walk = self.sites.walk(marks, key.namespace)
        else:
            walk = self.sites.recall(recalled, key.namespace)
        facts = walk.facts
        last = len(key.tokens) // TOKEN_BYTES - 1
        if walk.site.parent is None:
            end = self._learn(walk, marks, last, 0)  # no site, so no matter what the trees hold
        else:
            # The last token is always computed; and where a tree knows that prompts part, marks
            # that agree by chance mean nothing.
            known, parted = self._known(key)
            end = self._learn(walk, marks, min(last, known) if parted else last, known)
        self._forget_some()
        return facts, end

    def _forget_some(self) -> None:
        for _ in range(MOST_FORGOTTEN):
            old = self.sites.excess()
            if old is None:
                return
            self._forget(old)

    def _known(self, key: Key) -> tuple[int, bool]:
        """Tokens of a key that the tree has which has most, and whether prompts part there."""
        known, parted = -1, False
        for tier in self.tiers:
            found = tier.tree.peek(key)
            if found.kv_len > known:
                known, parted = found.kv_len, found.kv_len < found.deepest.end
        return known, parted

    def _advance(self) -> None:
        """Who carries what has another age now is worth more or less than before."""
        coarsest = self.classes.coarsest
        for site, step in self.spells.advance(self.now, MOST_ADVANCES):
            site.step = step
            for unit in (site.device, site.host):
                if unit is not None and unit.rank is not None:
                    unit.rank.queue.put(unit, unit.score(coarsest))

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
            self.sites.touch(used)
            self._use_answer(used, known)
        if max(used.end, walk.site.end) < walk.end < total:
            if walk.below is not None:
                self._part_from(walk.below)
            traits = Traits(BRANCH, 0, None, walk.end * self.stride)
            branch = self.sites.make(walk, marks, walk.end, traits)
            branch.uses = 1
            self._start(branch, self.classes.table(traits, 1))
            walk = Walk(branch, walk.end, None)
        end = walk.site
        if end.end < total:
            traits = Traits(END, turn, gap, total * self.stride)
            end = self.sites.make(walk, marks, total, traits)
            self._start(end, self.classes.table(traits, 0))
        elif end is not used and end.parent is not None:
            if total * self.stride - 1 <= limit:
                self._use(end)
            self.sites.touch(end)
        return end

    def _part_from(self, site: Site) -> None:
        """A prompt went on the way to a site, and left it: what was there could serve it.

        So sites of that class are used at such an age.  This one's own spell goes on, for where
        the prompt left is a site of its own from now on.
        """
        self.spells.add_use(site.table, self.now - site.last, self.now)

    def _use(self, site: Site) -> None:
        """Its carriers are worth more than before, which is noticed when they come up."""
        self.spells.end(site.spell, self.now)
        site.uses += 1
        self._start(site, self.classes.used(site.table))

    def _start(self, site: Site, table: Table) -> None:
        site.last = now = self.now
        site.step = 0
        site.table = table
        site.spell = self.spells.begin(table, site, now)

    def _use_answer(self, site: Site, known: int) -> None:
        """A prompt went on behind a prompt; behind its answer too, if a tree has seen so."""
        answer = site.answer
        if answer is None:
            return
        if all(unit is None or unit.node.end < answer.end for unit in answer.carriers):
            self.spells.void(answer.spell)  # it was evicted: nobody knows
            self._drop_answer(site)
        elif known >= answer.end:
            self._use(answer)

    def answered(self, end: Site, depth: int) -> Site:
        """The answer to the prompt that ends at a site was published down to `depth` tokens.

        The next turn may start from there; returns the site, which nobody carries yet.
        """
        self._changes += 1
        try:
            return self._answered(end, depth)
        finally:
            self._changes += 1

    def _answered(self, end: Site, depth: int) -> Site:
        self._drop_answer(end)
        turn, gap = end.traits.turn, end.traits.gap
        traits = Traits(ANSWER, turn, gap, depth)
        end.answer = answer = Site(end, b"", depth, traits)
        self._start(answer, self.classes.table(traits, 0))
        return answer

    def _drop_answer(self, site: Site) -> None:
        answer, site.answer = site.answer, None
        if answer is not None:
            self.spells.disown(answer.spell)
            self._let_go(answer)

    def _forget(self, site: Site) -> None:
        self._drop_answer(site)
        self.spells.disown(site.spell)
        self._let_go(site)
        self.sites.forget(site)

    def _let_go(self, site: Site) -> None:
        for tier in self.tiers:
            tier.let_go(site)


def _old_spells(spells: Spells[Site], now: int) -> Iterator[OldSpell]:
    for spell in spells.remembered(now):
        yield OldSpell(spell.table.key, spell.age, spell.ended)
