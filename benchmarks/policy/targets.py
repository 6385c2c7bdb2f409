"""The targets, computed from the cells; see docs/benchmarks.md for what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.policy.inputs import GIB, Half

Row = dict[str, Any]
"""A cell as it is written: what it is of, and `token_hit`."""
MOST_LOST = 0.003
"""A hit rate may be so much below."""
TIMES_DEFAULT, TIMES_BEST = 1.5, 1.25
CONTESTED = 0.8
"""Of the ceiling: where LRU has that much, policies do not matter."""
GAP = 0.3
OF_CEILING, HOST_TIMES = 0.95, 4.0
"""What is hit of the ceiling where a host of so many times the device holds everything."""
SGLANG = ("sglang-default", "sglang-best-static", "sglang-unified")


class Target(NamedTuple):
    """One of them, for one policy."""

    policy: str
    name: str
    number: float | None
    """None where no cell tells."""
    limit: float
    holds: bool | None
    cells: int
    """That were looked at."""
    worst: str = ""
    """The cell that is furthest from it."""
    remark: str = ""


Group = dict[str, Row]
"""Contenders of one place, by name."""


def groups_of(rows: Sequence[Row]) -> dict[tuple[str, str, float, float], Group]:
    """Cells by place: trace, geometry, and the bytes of both tiers."""
    found: dict[tuple[str, str, float, float], Group] = {}
    for row in rows:
        place = row["trace"], row["geometry"], row["device_gb"], row["host_gb"]
        found.setdefault(place, {})[row["policy"]] = row
    return found


def targets(
    rows: Sequence[Row],
    policies: Sequence[str],
    half: Half,
    published: Mapping[tuple[str, str], int] | None = None,
) -> list[Target]:
    """Every target for every policy.

    `published`: bytes of everything that is ever published, by trace and geometry.
    """
    groups = list(groups_of(rows).values())
    return [
        target
        for policy in policies
        for target in (
            _never_below(groups, policy),
            _times(groups, policy, "SGLang's default", SGLANG[:1], TIMES_DEFAULT),
            _times(groups, policy, "SGLang's best", SGLANG, TIMES_BEST),
            _gap(groups, policy, half),
            _ample(groups, policy, published or {}),
        )
    ]


def _has(group: Group, *names: str) -> bool:
    return all(name in group for name in names)


def _hit(group: Group, name: str) -> float:
    return float(group[name]["token_hit"])


def _best(group: Group, names: Sequence[str]) -> float:
    return max(_hit(group, name) for name in names if name in group)


def _host(group: Group) -> float:
    return float(next(iter(group.values()))["host_gb"])


def _place(group: Group) -> str:
    row, host_gb = next(iter(group.values())), _host(group)
    host = f" + {host_gb:g} GiB" if host_gb else ""
    return f"{row['trace']}, {row['geometry']}, {row['device_gb']:g} GiB{host}"


def _never_below(groups: Sequence[Group], policy: str) -> Target:
    """The worst cell against the best of SGLang's and LRU; with a host tier, against LRU."""
    name = "worst cell against the best of SGLang and lru, points"
    some = [g for g in groups if _has(g, policy, "lru", *(() if _host(g) else SGLANG))]
    lost = [(_hit(g, policy) - _best(g, (*SGLANG, "lru")), _place(g)) for g in some]
    if not lost:
        return Target(policy, name, None, -100 * MOST_LOST, None, 0)
    number, worst = min(lost)
    return Target(
        policy, name, 100 * number, -100 * MOST_LOST, number >= -MOST_LOST, len(lost), worst
    )


def _times(
    groups: Sequence[Group], policy: str, whom: str, others: Sequence[str], limit: float
) -> Target:
    """The mean of the cells' ratios where LRU is far from the ceiling."""
    name = f"mean ratio to {whom} where lru is below {CONTESTED:.0%} of the ceiling"
    some = [g for g in groups if _has(g, policy, "lru", "ceiling", *others)]
    some = [g for g in some if _hit(g, "lru") < CONTESTED * _hit(g, "ceiling")]
    told = [g for g in some if _best(g, others) > 0]
    ratios = [(_hit(g, policy) / _best(g, others), _place(g)) for g in told]
    remark = f"{len(some) - len(told)} cells left out: theirs is 0" if len(some) > len(told) else ""
    return _mean(policy, name, ratios, limit, remark)


def _gap(groups: Sequence[Group], policy: str, half: Half) -> Target:
    """The mean share of the way from LRU to the bound, of what one budget can do."""
    name = "mean share of the gap from lru to the bound"
    some = [g for g in groups if _has(g, policy, "lru", "bound") and not _host(g)]
    some = [g for g in some if _hit(g, "bound") > _hit(g, "lru")]

    def share(group: Group) -> float:
        low = _hit(group, "lru")
        return (_hit(group, policy) - low) / (_hit(group, "bound") - low)

    remark = "" if half == "held-out" else "not on held-out conversations alone"
    return _mean(policy, name, [(share(g), _place(g)) for g in some], GAP, remark)


def _ample(
    groups: Sequence[Group], policy: str, published: Mapping[tuple[str, str], int]
) -> Target:
    """The worst cell against the ceiling, with a host of four times the device's bytes, where
    the bytes suffice.

    They do where the host holds everything that is ever published, states and all.  Then nothing
    has to be chosen: what is not hit was lost between the tiers, or was not written in time.
    That the *bound* of these bytes is near the ceiling would not do: the bound knows the
    future, and how much of its lead a policy has to make up is the target before this one.
    """
    name = "worst share of the ceiling where the host holds all that is published"
    some = [
        g for g in groups
        if _has(g, policy, "ceiling") and _hit(g, "ceiling") > 0 and _suffices(g, published)
    ]  # fmt: skip
    if not some:
        return Target(policy, name, None, OF_CEILING, None, 0)
    number, worst = min((_hit(g, policy) / _hit(g, "ceiling"), _place(g)) for g in some)
    return Target(policy, name, number, OF_CEILING, number >= OF_CEILING, len(some), worst)


def _suffices(group: Group, published: Mapping[tuple[str, str], int]) -> bool:
    row = next(iter(group.values()))
    needed = published.get((row["trace"], row["geometry"]))
    times = row["host_gb"] / row["device_gb"]
    return needed is not None and times == HOST_TIMES and row["host_gb"] * GIB >= needed


def _mean(
    policy: str, name: str, numbers: Sequence[tuple[float, str]], limit: float, remark: str
) -> Target:
    if not numbers:
        return Target(policy, name, None, limit, None, 0, remark=remark)
    number = mean(n for n, _ in numbers)
    return Target(policy, name, number, limit, number >= limit, len(numbers), min(numbers)[1],
                  remark)  # fmt: skip


def failed(found: Sequence[Target], policy: str) -> list[Target]:
    """Targets that a policy does not reach, and those that no cell tells of."""
    return [target for target in found if target.policy == policy and not target.holds]
