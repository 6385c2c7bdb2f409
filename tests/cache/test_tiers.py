"""Two tiers under a server in miniature: drawn runs, the same runs, and a million operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from broken_tiers import (
    AbortFreesAtOnce,
    FlushesAtOnce,
    FlushesTheDeviceAlone,
    PublishesFailures,
    SourceNotKept,
)
from operations import LEAST, assert_all_happened, run_until
from tiered import run_seed, tiered

from cachepawl.errors import LockError
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_two_tiers(server_machine: type, must_pass: Callable[..., None], writing: str) -> None:
    must_pass(tiered(server_machine, writing), runs=4, steps=12)


SEEDS = range(15, 27)
"""With these each verb happens under each write policy."""


@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_seeds(server_machine: type, writing: str) -> None:
    """The same runs every time, in which everything happens."""
    machine = tiered(server_machine, writing)
    done: Counter[str] = Counter()
    for seed in SEEDS:
        done.update(run_seed(machine, seed, 6))
    for what in ("host_retractions_kept", "host_writes_skipped", "rode"):
        assert done[what], what
    assert_all_happened(done)


MUTANTS = [SourceNotKept, PublishesFailures, AbortFreesAtOnce, FlushesAtOnce, FlushesTheDeviceAlone]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(server_machine: type, mutant: type[HostTier]) -> None:
    machine = tiered(server_machine, "write_through", mutant)
    with pytest.raises((AssertionError, KeyError, LockError)):
        all(run_seed(machine, seed, 6) for seed in SEEDS)


@pytest.mark.parametrize("verb", LEAST)
def test_a_verb_that_happens_no_more_is_noticed(verb: str) -> None:
    done = Counter({**LEAST, "operations": 10_000})
    assert_all_happened(done)
    done[verb] -= 1
    with pytest.raises(AssertionError, match=verb):
        assert_all_happened(done)


PARTS = 6
EACH = -(-(10**6) // (PARTS * len(WRITE_POLICIES)))


@pytest.mark.stress
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_a_million_operations(server_machine: type, writing: str, part: int) -> None:
    """A million chores that did something, in all parts, with every check after each."""
    machine = tiered(server_machine, writing)
    done = run_until(EACH, lambda seed: run_seed(machine, seed, 12), first=10_000 * (part + 1))
    assert done["operations"] >= EACH
    assert_all_happened(done)


@pytest.mark.stress
@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_two_tiers_for_long(
    server_machine: type, must_pass: Callable[..., None], writing: str
) -> None:
    must_pass(tiered(server_machine, writing), runs=200, steps=50, fresh=True)
