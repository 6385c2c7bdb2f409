"""Every number that is counted has a name, a text and a place in the manual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.observe.series import DEVICE, HOST, SERIES
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Order, Outcome
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

SHAPES = Geometry(KvShape(1, 1, 8, 8, 2), StateShape(1, ((4, 16),), 4, (4, 8, 16), 4), 4, 9)
MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"


class Nothing:
    """Transfers that nobody orders."""

    def start(self, order: Order) -> None:
        raise AssertionError

    def finished(self) -> list[Outcome]:
        return []

    def wait(self) -> None:
        """Nothing to wait for."""


def counted_on_the_device() -> set[str]:
    plain = HybridPrefixCache(SHAPES, states_per_request=1)
    packed = HybridPrefixCache(SHAPES.with_checkpoints("int8"), states_per_request=1)
    return set(plain.stats()) | set(packed.stats())


def counted_on_the_host() -> set[str]:
    device = HybridPrefixCache(SHAPES, states_per_request=1)
    tier = HostTier(device, SHAPES, Nothing(), WRITE_POLICIES["write_through"]())
    return set(tier.stats())


def counted_by_the_server() -> set[str]:
    pytest.importorskip("sglang")
    from cachepawl_launch.host.loading import Loader

    device = HybridPrefixCache(SHAPES, states_per_request=1)
    tier = HostTier(device, SHAPES, Nothing(), WRITE_POLICIES["write_through"]())
    return set(Loader(tier, None).stats())  # type: ignore[arg-type]


def test_every_number_is_named() -> None:
    assert counted_on_the_device() == {series.name for series in DEVICE}
    assert counted_on_the_host() | counted_by_the_server() == {series.name for series in HOST}
    assert len(SERIES) == len(DEVICE) + len(HOST)
    assert all(series.text for series in SERIES.values())


def test_every_number_is_in_the_manual() -> None:
    named = set(re.findall(r"`([a-z_]+)`", MANUAL.read_text()))
    missing = sorted(set(SERIES) - named)
    assert not missing, f"{MANUAL.name} says nothing of {missing}"
    told = {name for name in named if name.startswith("host_")}
    assert told - set(SERIES) <= {"host_"}, "the manual tells of numbers that are not counted"
