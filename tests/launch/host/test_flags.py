"""Flags of the host tier: refused by name before anything is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cachepawl.config import Options, make_options
from cachepawl.errors import ConfigError
from cachepawl.pool.capacity import Capacity
from cachepawl.pool.geometry import Geometry, KvShape
from cachepawl_launch.flags import check_host_flags, options_of, split_flags
from cachepawl_launch.host.room import check_room

SHAPES = Geometry(KvShape(2, 2, 32, 32, 4), None, 16, 9, frame_pages=2)


def options(*words: str) -> Options:
    ours, theirs = split_flags(words)
    assert not theirs
    check_host_flags(ours)
    return options_of(ours)


def test_without_flags_there_is_no_tier() -> None:
    plain = options()
    assert plain.host_gb is None
    assert plain.host_bytes(100) is None


def test_sizes() -> None:
    assert options("--cachepawl-host-gb", "0.5").host_bytes(7) == 2**29
    assert options("--cachepawl-host-gb", "2.5x").host_bytes(100) == 250


@pytest.mark.parametrize("size", ["0", "-1", "nan", "much", "0x"])
def test_sizes_that_are_none(size: str) -> None:
    with pytest.raises(ConfigError, match=f"--cachepawl-host-gb.*{size}.*give a positive number"):
        make_options(host_gb=size)


@pytest.mark.parametrize(
    "words",
    [
        ("--cachepawl-write-policy", "write_back"),
        ("--cachepawl-host-faults", "load:0:fail"),
        ("--cachepawl-host-corrupt", "pages"),
        ("--cachepawl-host-slow", "0.5"),
    ],
)
def test_flags_of_a_tier_that_is_not_there(words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]}: there is no host tier"):
        options(*words)
    assert options("--cachepawl-host-gb", "1", *words).host_gb == "1"


@pytest.mark.parametrize(
    "words",
    [
        ("--cachepawl-write-policy", "sometimes"),
        ("--cachepawl-host-faults", "load:first:fail"),
        ("--cachepawl-host-corrupt", "all"),
        ("--cachepawl-host-slow", "-1"),
        ("--cachepawl-checkpoint-dtype", "int8"),
    ],
)
def test_wrong_or_not_served_yet(words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        options("--cachepawl-host-gb", "1", *words)


def test_remote_memory_is_asked_for_by_name() -> None:
    assert not options("--cachepawl-host-gb", "1").host_remote
    assert options("--cachepawl-host-gb", "1", "--cachepawl-host-remote").host_remote
    with pytest.raises(ConfigError, match="--cachepawl-host-remote: there is no host tier"):
        options("--cachepawl-host-remote")


def test_every_policy_is_served() -> None:
    assert options("--cachepawl-host-gb", "1", "--cachepawl-policy", "joint").policy == "joint"


def room(size: str, *, known: bool = True, ranks: int = 1) -> str | None:
    view = SimpleNamespace(tp_size=ranks, dp_size=1, nnodes=1)
    capacity = Capacity(SHAPES, SHAPES.total_bytes, 0, exact=known)
    return check_room(capacity, view, make_options(host_gb=size))


def test_room_for_all_ranks() -> None:
    said = room("3x", ranks=2)
    assert said is not None
    assert f"{3 * SHAPES.total_bytes:,} bytes on each of 2 ranks" in said
    unknown = room("3x", known=False)
    assert unknown is not None
    assert "once its size is known" in unknown


def test_too_large_and_too_small() -> None:
    with pytest.raises(ConfigError, match=r"on each of 2 ranks"):
        room("1000000", ranks=2)
    with pytest.raises(ConfigError, match=r"the least is two frames"):
        room("0.0000001")


def test_rides_are_not_recorded() -> None:
    words = ["--cachepawl-host-gb", "1", "--cachepawl-host-layerwise"]
    with pytest.raises(ConfigError, match=r"--cachepawl-trace beside --cachepawl-host-layerwise"):
        options(*words, "--cachepawl-trace", "log")
