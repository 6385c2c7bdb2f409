"""What `joint` should name, worked out from scratch at every question: slow and plain.

It hears what the policy hears.  Sites are prefixes in a dictionary, spells a list, tables are
counted anew, the index tries every moment to give up, and the tree is walked for every unit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cachepawl.policy.base import Victim
from cachepawl.policy.joint.ages import EDGES, HALVED, LAST, LEVELS, WIDTHS, level_of
from cachepawl.policy.joint.classes import ANSWER, BRANCH, DEPTHS, END, GAPS
from cachepawl.policy.joint.survival import COARSER_WEIGHT, MOST, PRIOR, PRIOR_WEIGHT
from cachepawl.policy.joint.units import SELDOM, WITH_COPY
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key

Prefix = tuple[bytes, bytes]
"""A namespace and marks."""
LEEWAY = 2 ** (2 / 16)
"""Scores that far apart may share a rank."""


@dataclass(eq=False)
class Place:
    """A site."""

    kind: int
    turn: int
    gap: int | None
    depth: int
    end: int
    uses: int = 0
    last: int = 0
    spell: Stretch | None = None
    answer: Place | None = None


@dataclass(eq=False)
class Stretch:
    """A spell."""

    key: tuple[int, ...]
    start: int
    stop: int | None = None


@dataclass
class Reference:
    """The same words as the policy's; `allows` says whether a victim is right."""

    stride: int
    most_claims: int
    token_bytes: float = 0.0
    state_bytes: float = 0.0
    now: int = 0
    places: dict[Prefix, Place] = field(default_factory=dict)
    spells: list[Stretch] = field(default_factory=list)
    rows: dict[int, tuple[bytes, bytes, int]] = field(default_factory=dict)
    claims: dict[Node, list[Place]] = field(default_factory=dict)
    """Of the nodes of all tiers."""
    trees: list[RadixTree] = field(default_factory=list)
    """Of all tiers; requests run on the first."""
    copies: dict[Node, Node] = field(default_factory=dict)
    """Of the device's nodes on the host, one of each."""

    # What happens

    def forget(self) -> None:
        """Everything, as before the first request."""
        self.now = 0
        for what in (self.places, self.spells, self.rows, self.claims):
            what.clear()

    def began(self, row: int, key: Key, at: int) -> None:
        self.now = max(self.now, at)
        marks = memoryview(key.tokens).cast("q")[self.stride - 1 :: self.stride].tobytes()
        total, space = len(marks) // 8, key.namespace
        known = max((_shared(marks, m) for s, m in self.places if s == space), default=0)
        on_way = [self.places[space, marks[: 8 * n]] for n in range(1, known + 1)
                  if (space, marks[: 8 * n]) in self.places]  # fmt: skip
        found = max((tree.peek(key) for tree in self.trees), key=lambda match: match.kv_len)
        limit = len(key.tokens) // 8 - 1
        if found.kv_len < found.deepest.end:
            limit = min(limit, found.kv_len)
        used = next((p for p in reversed(on_way) if p.end * self.stride <= limit), None)
        turn, gap = 0, None
        if used is not None:
            if used.end * 2 >= total:
                turn, gap = used.turn + 1, self.now - used.last
            self.use(used)
            self.use_answer(used, found.kv_len)
        deepest = on_way[-1].end if on_way else 0
        if deepest < known < total:
            below = min(
                (
                    p
                    for (s, m), p in self.places.items()
                    if s == space and _shared(marks, m) == known
                ),
                key=lambda place: place.end,
            )
            self.spells.append(Stretch(self.class_of(below), below.last, self.now))
            branch = Place(BRANCH, 0, None, known * self.stride, known)
            self.places[space, marks[: 8 * known]] = branch
            self.use(branch)
        last = self.places.get((space, marks))
        if total and last is None:
            self.places[space, marks] = last = Place(END, turn, gap, total * self.stride, total)
            self.start(last)
        elif total and last is not None and last is not used and total * self.stride - 1 <= limit:
            self.use(last)
        self.rows[row] = space, marks, len(key.tokens) // 8

    def use_answer(self, place: Place, known: int) -> None:
        answer = place.answer
        if answer is None:
            return
        carriers = [self.carrier(tree, answer) for tree in self.trees]
        if all(carrier is None or carrier.end < answer.end for carrier in carriers):
            assert answer.spell is not None
            if answer.spell.stop is None:
                self.spells.remove(answer.spell)
            self.drop_answer(place)
        elif known >= answer.end:
            self.use(answer)

    def drop_answer(self, place: Place) -> None:
        answer, place.answer = place.answer, None
        for tree in self.trees if answer is not None else ():
            self.let_go(tree, answer)

    def use(self, place: Place) -> None:
        if place.spell is not None and place.spell.stop is None:
            place.spell.stop = self.now
        place.uses += 1
        self.start(place)

    def start(self, place: Place) -> None:
        place.last = self.now
        place.spell = Stretch(self.class_of(place), self.now)
        self.spells.append(place.spell)

    def class_of(self, place: Place) -> tuple[int, ...]:
        uses, turn = min(place.uses, 3), (0, 1, 2, 2, 3)[min(place.turn, 4)]
        depth = sum(place.depth >= border for border in DEPTHS)
        if uses:
            return uses, place.kind, turn, depth
        gap = 0
        if place.gap is not None:
            gap = 1 + sum(place.gap >= 1000 * border for border in GAPS)
        return uses, place.kind, turn, depth, gap

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        if node.parent is None or (tree.has_states and node.state is None):
            return
        mine = self.claims.setdefault(node, [])
        if row not in self.rows:
            return
        space, marks, prompt = self.rows[row]
        reach, total = node.end // self.stride, len(marks) // 8
        end = self.places.get((space, marks))
        if node.end > prompt:
            if end is None:  # a prompt without a mark
                end = self.places.setdefault((space, b""), Place(BRANCH, 0, None, 0, 0))
            self.drop_answer(end)
            end.answer = Place(ANSWER, end.turn, end.gap, node.end, node.end)
            self.start(end.answer)
            self.claim(mine, end.answer)
            return
        for depth in range(total, max(reach, 1) - 1, -1):
            place = self.places.get((space, marks[: 8 * depth]))
            if place is None:
                continue
            self.take(tree, node, place)

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        self.part(victim.node)
        left = self.claims.pop(victim.node, [])
        heir = self.above(tree, victim.node)
        for place in left:
            if heir.parent is not None:
                self.claim(self.claims.setdefault(heir, []), place)

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        if node.parent is None or (tree.has_states and node.state is None):
            return
        self.claims.setdefault(node, [])
        for place in list(self.claims.get(source, [])):
            self.take(tree, node, place)
        self.part(node)
        self.part(source)
        above, below = (source, node) if tree is not self.trees[0] else (node, source)
        if source in self.claims:
            self.copies[above] = below

    def part(self, node: Node) -> None:
        """It has no copy and is none."""
        self.copies = {a: b for a, b in self.copies.items() if a is not node and b is not node}

    def take(self, tree: RadixTree, node: Node, place: Place) -> None:
        before = self.carrier(tree, place)
        if before is None or before.end < node.end:
            self.let_go(tree, place)
            self.claim(self.claims[node], place)

    def carrier(self, tree: RadixTree, place: Place) -> Node | None:
        held = (node for node, places in self.claims.items() if place in places)
        return next((node for node in held if node.owner is tree.root), None)

    def let_go(self, tree: RadixTree, place: Place) -> None:
        carrier = self.carrier(tree, place)
        if carrier is not None:
            self.claims[carrier].remove(place)

    def claim(self, held: list[Place], place: Place) -> None:
        held.append(place)
        if len(held) > self.most_claims:
            held.remove(min(held, key=self.worth))

    # What follows

    def chances(self, key: tuple[int, ...]) -> list[float]:
        """Of a class, from all spells of it, down from the coarsest."""
        before, weight = [PRIOR] * LEVELS, PRIOR_WEIGHT
        for cut in (0, 2, 3, len(key)) if key else (0,):
            mine = [s for s in self.spells if s.key[:cut] == key[:cut]]
            if cut == 2:
                before = [min((key[0] + 1) * chance, MOST) for chance in before]
            out = []
            for level, chance in enumerate(before):
                ended = here = 0
                exposed = 0.0
                for s in mine:
                    at = level_of((self.now if s.stop is None else s.stop) - s.start)
                    ended += s.stop is not None and at == level
                    here += s.stop is None and at == level
                    exposed += at >= level
                exposed -= here / 2
                out.append(min((ended + weight * chance) / (exposed + weight), MOST))
            before, weight = out, COARSER_WEIGHT
        return before

    def learned(self) -> Counter[tuple[tuple[int, ...], int, bool]]:
        """How many spells of prompts there are of each class and level, over and not."""
        mine = (s for s in self.spells if s.key[1] != ANSWER)
        ages = ((s, (self.now if s.stop is None else s.stop) - s.start) for s in mine)
        return Counter((s.key, level_of(age), s.stop is not None) for s, age in ages)

    def worth(self, place: Place) -> float:
        assert place.spell is not None
        key, age = place.spell.key, self.now - place.spell.start
        level = level_of(age)
        here = self.index(key, level)
        if not HALVED <= level < LAST or age < 2 * EDGES[level]:
            return here
        return min(here, (here * self.index(key, level + 1)) ** 0.5)

    def index(self, key: tuple[int, ...], level: int) -> float:
        chances = self.chances(key)
        best, alive, use, time = 0.0, 1.0, 0.0, 0.0
        for stop in range(level, LAST + 1):
            use += alive * chances[stop]
            time += alive * (1 - chances[stop] / 2) * WIDTHS[stop]
            alive *= 1 - chances[stop]
            best = max(best, use / time)
        return best

    def above(self, tree: RadixTree, node: Node) -> Node:
        assert node.parent is not None
        node = node.parent
        while node.parent is not None and tree.has_states and node.state is None:
            node = node.parent
        return node

    def score(self, tree: RadixTree, node: Node) -> float:
        top = self.above(tree, node)
        freed = self.state_bytes if node.state is not None else 0.0
        if not node.children and not node.full_lock:
            up: Node = node
            while up is node or (up is not top and len(up.children) == 1):
                assert up.parent is not None
                freed += (up.end - up.parent.end) * self.token_bytes
                up = up.parent
        held = self.claims.get(node)
        uses = sum(map(self.worth, held)) if held else self.index((), SELDOM)
        if node in self.copies:
            uses *= WITH_COPY
        return uses * (node.end - top.end) / freed if freed else 0.0

    def allows(self, tree: RadixTree, kind: str | None, victim: Victim | None) -> bool:
        """Whether a policy of this definition may name this victim."""
        nodes = list(tree.walk())
        leaves = [n for n in nodes if not n.children and not n.full_lock]
        states = [n for n in nodes if n.state is not None and not n.state_lock]
        cold = [n for n in leaves if tree.has_states and n.state is None]
        if kind != "state" and cold:
            return victim is not None and victim.kind == "kv" and victim.node in cold
        could = {"kv": leaves, "state": states, None: [*leaves, *states]}[kind]
        if victim is None:
            return not could
        whole = victim.node in leaves and kind != "state"
        if victim.kind != ("kv" if whole else "state") or victim.node not in could:
            return False
        least = min(self.score(tree, node) for node in could)
        return self.score(tree, victim.node) <= least * LEEWAY


def _shared(one: bytes, other: bytes) -> int:
    """Marks that two have in common from the start."""
    count = 0
    for at in range(0, min(len(one), len(other)), 8):
        if one[at : at + 8] != other[at : at + 8]:
            break
        count += 1
    return count
