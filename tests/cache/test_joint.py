"""`joint` in a server in miniature names what a slow reference would name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from joint_reference import Reference
from test_recorded import recording
from tiered import run_seed, tiered

from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import POLICIES
from cachepawl.policy.base import Facts, Kind, Victim
from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.ages import level_of
from cachepawl.policy.joint.classes import ANSWER
from cachepawl.policy.joint.requests import Requests
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key


class Watched(Joint):
    """Looks at all units before it names one, and compares."""

    def __init__(self, requests: Requests | None = None) -> None:
        super().__init__(requests)
        self.reference = Reference(self.stride, self.most_claims)

    def beside(self) -> Watched:
        below = type(self)(self.requests)
        below.reference = self.reference
        return below

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        super().serve(tree, token_bytes, state_bytes)
        self.reference.token_bytes, self.reference.state_bytes = token_bytes, state_bytes
        self.reference.trees.append(tree)

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        self.reference.began(row, key, at)
        return super().began(tree, row, key, at, recalled)

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        self.reference.published(tree, row, node)
        super().published(tree, row, node)

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        self.reference.copied(tree, node, source)
        super().copied(tree, node, source)

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        self.reference.leaving(tree, victim)
        super().leaving(tree, victim)

    def ended(self, tree: RadixTree, row: int) -> None:
        if self.place == 0:  # rows of other tiers have other numbers
            self.reference.rows.pop(row, None)
        super().ended(tree, row)

    def emptied(self, tree: RadixTree) -> None:
        for node in [node for node in self.reference.claims if node.owner is None]:
            del self.reference.claims[node]
        for above, below in list(self.reference.copies.items()):
            if above.owner is None or below.owner is None:
                del self.reference.copies[above]
        if self.place == 0:
            self.reference.forget()
        super().emptied(tree)

    def learned_of_prompts(self) -> Counter[tuple[tuple[int, ...], int, bool]]:
        """Answers are another matter: which sites a unit drops hangs on how fresh tables are."""
        spells = self.requests.spells.remembered(self.requests.now)
        told = ((spell.table.key, level_of(spell.age), spell.ended) for spell in spells)
        return Counter(one for one in told if one[0][1] != ANSWER)

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        self.look_at_all(tree)
        assert self.learned_of_prompts() == self.reference.learned()
        named = super().victim(tree, kind)
        assert self.reference.allows(tree, kind, named), (kind, named, tree.render())
        return named


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, joint_machine: type) -> Callable[..., type]:
    """`watched(policy)`: the machine under that policy."""

    def make(policy: type[Joint]) -> type:
        monkeypatch.setitem(POLICIES, "joint", policy)
        return joint_machine

    return make


@pytest.fixture
def joint_machine(server_machine: type) -> type:
    class JointMachine(server_machine):  # type: ignore[misc]
        policy = "joint"

    return JointMachine


def test_serves_from_the_right_memory(joint_machine: type, must_pass: Callable[..., None]) -> None:
    """Whatever it names can go, and its tables are what a recount says, at every step."""
    must_pass(joint_machine, runs=60, steps=30)


@pytest.mark.stress
def test_serves_for_long(joint_machine: type, must_pass: Callable[..., None]) -> None:
    must_pass(joint_machine, runs=1000, steps=60, fresh=True)


def test_a_recording_run_again_is_the_same_cache(
    joint_machine: type, must_pass: Callable[..., None]
) -> None:
    must_pass(recording(joint_machine), runs=15, steps=20)


def test_victims_are_those_of_the_reference(
    watched: Callable[..., type], must_pass: Callable[..., None]
) -> None:
    must_pass(watched(Watched), runs=25, steps=15)


@pytest.mark.stress
def test_victims_for_long(watched: Callable[..., type], must_pass: Callable[..., None]) -> None:
    must_pass(watched(Watched), runs=500, steps=60, fresh=True)


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_two_tiers_share_what_is_learned(
    watched: Callable[..., type], must_pass: Callable[..., None], writing: str
) -> None:
    """What either tier gives up is what the reference would, of sites that moved with bytes."""
    must_pass(tiered(watched(Watched), writing), runs=4, steps=8)


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_seeds_of_two_tiers(watched: Callable[..., type], writing: str) -> None:
    machine = tiered(watched(Watched), writing)
    for seed in range(4):
        run_seed(machine, seed, 4)


class Deaf(Watched):
    """Hears nothing of a copy."""

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        self.reference.copied(tree, node, source)


class Doubling(Watched):
    """Takes what has a copy for as dear as what has none."""

    def copied(self, tree: RadixTree, node: Node, source: Node) -> None:
        super().copied(tree, node, source)
        unit = self.units.get(node)
        if unit is not None:
            unit.part()


@pytest.mark.parametrize("broken", [Deaf, Doubling])
def test_what_is_wrong_about_copies_is_noticed(
    watched: Callable[..., type], broken: type[Joint]
) -> None:
    machine = tiered(watched(broken), "write_through")
    with pytest.raises(AssertionError):
        all(run_seed(machine, seed, 4) for seed in range(10))


@pytest.mark.stress
@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_two_tiers_for_long(
    watched: Callable[..., type], must_pass: Callable[..., None], writing: str
) -> None:
    must_pass(tiered(watched(Watched), writing), runs=100, steps=40, fresh=True)


def test_mutants_are_caught(watched: Callable[..., type], must_fail: Callable[..., None]) -> None:
    """Claims that are not inherited."""

    class Forgetful(Watched):
        def leaving(self, tree: RadixTree, victim: Victim) -> None:
            unit = self.units.get(victim.node)
            for site in list(unit.sites) if unit is not None else []:
                self.let_go(site)
            super().leaving(tree, victim)

    must_fail(watched(Forgetful))


def test_who_learns_nothing_from_partings_is_caught(
    watched: Callable[..., type], must_fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Requests, "_part_from", lambda self, site: None)
    must_fail(watched(Watched))
