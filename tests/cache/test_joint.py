"""`joint` in a server in miniature names what a slow reference would name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from joint_reference import Reference
from test_recorded import recording

from cachepawl.policy import POLICIES
from cachepawl.policy.base import Facts, Kind, Victim
from cachepawl.policy.joint import Joint
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key


class Watched(Joint):
    """Looks at all units before it names one, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.reference = Reference(self.stride, self.most_claims)

    def serve(self, tree: RadixTree, token_bytes: float, state_bytes: float) -> None:
        super().serve(tree, token_bytes, state_bytes)
        self.reference.token_bytes, self.reference.state_bytes = token_bytes, state_bytes

    def began(self, tree: RadixTree, row: int, key: Key, at: int, recalled: Facts | None) -> Facts:
        self.reference.began(tree, row, key, at)
        return super().began(tree, row, key, at, recalled)

    def published(self, tree: RadixTree, row: int, node: Node) -> None:
        self.reference.published(tree, row, node)
        super().published(tree, row, node)

    def leaving(self, tree: RadixTree, victim: Victim) -> None:
        self.reference.leaving(tree, victim)
        super().leaving(tree, victim)

    def ended(self, tree: RadixTree, row: int) -> None:
        self.reference.rows.pop(row, None)
        super().ended(tree, row)

    def emptied(self, tree: RadixTree) -> None:
        costs = self.reference.token_bytes, self.reference.state_bytes
        self.reference = Reference(self.stride, self.most_claims, *costs)
        super().emptied(tree)

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        self.look_at_all(tree)
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


def test_mutants_are_caught(watched: Callable[..., type], must_fail: Callable[..., None]) -> None:
    """Claims that are not inherited."""

    class Forgetful(Watched):
        def leaving(self, tree: RadixTree, victim: Victim) -> None:
            unit = self.units.get(victim.node)
            for site in list(unit.sites) if unit is not None else []:
                self._let_go(site)
            super().leaving(tree, victim)

    must_fail(watched(Forgetful))
