"""What the figures are held to; rows that are no figures are passed over."""

from __future__ import annotations

from typing import Any

Found = dict[str, list[dict[str, Any]]]
BARS = ((64 * 1024, 0.9), (16 * 1024, 0.75))
"""From so many bytes an extent, at least this share of one device-to-device copy."""
FROM_BYTES, MOST_RATIO = 64 * 1024, 1.05
LEAST_OF_PINNED = 0.9
MOST_BLOCKED = 0.1
"""Of the device's work that is queued: a step that waits for any of it waits for nearly all."""
MOST_EXPOSED = 0.5
"""Of a load by layers that a forward waits for; the forward is long enough to hide all of it."""


def least_share(extent_bytes: int) -> float:
    """The bar for copies of extents of this size; 0 where there is none."""
    return next((share for size, share in BARS if extent_bytes >= size), 0.0)


def is_figure(row: dict[str, Any]) -> bool:
    """Something was measured."""
    return not row.keys() & {"error", "skipped"}


def failed(found: Found) -> list[str]:
    """Rows that have an error in the place of figures."""
    return [
        f"{section}: {row['row']}: {row['error']}"
        for section, rows in found.items()
        for row in rows
        if "error" in row
    ]


def below_the_bar(found: Found) -> list[str]:
    """Rows that miss a target, each with its figure."""
    found = {section: [row for row in rows if is_figure(row)] for section, rows in found.items()}
    copies = [
        f"copy of extents of {row['extent_bytes']} bytes: {row['of_copy']:.0%} of one copy"
        for row in found.get("extents", [])
        if row["row"] == "copy" and row["of_copy"] < least_share(row["extent_bytes"])
    ]
    copies += [
        f"{row['row']}: {row['of_copy']:.0%} of one copy"
        for row in found.get("arena", [])
        if row["of_copy"] < BARS[0][1] and not row["row"].startswith("clear")
    ]
    slower = [
        f"{row['row']}: {row['ratio']} times the contiguous time"
        for row in found.get("attention", [])
        if row["ratio"] > MOST_RATIO
    ]
    return copies + _between_tiers(found) + slower


def _between_tiers(found: Found) -> list[str]:
    narrow = [
        f"{row['row']} by {row['by']}: {row['of_pinned']:.0%} of a pinned copy"
        for row in found.get("host", [])
        if row["chosen"] and row["extent_bytes"] >= FROM_BYTES
        if row["of_pinned"] < LEAST_OF_PINNED
    ]
    waits = [
        f"{row['row']}: the host was held for {row['blocked']:.0%} of the device's work"
        for row in found.get("loads", [])
        if row.get("blocked", 0) > MOST_BLOCKED
    ]
    exposed = [
        f"{row['row']}: {row['exposed']:.0%} of it is not hidden behind a forward of "
        f"{row['forward_us'] / row['load_us']:.1f} times its length"
        for row in found.get("loads", [])
        if row["row"].startswith("load layers") and row["exposed"] > MOST_EXPOSED
    ]
    return narrow + exposed + waits
