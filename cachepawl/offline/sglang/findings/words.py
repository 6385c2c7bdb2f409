"""Numbers as findings write them."""

from __future__ import annotations


def grouped(value: float) -> str:
    """Thousands set apart; up to four digits of a fraction."""
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share as per cent, one digit behind the point."""
    return f"{100 * share:.1f} %"


def gib(size: float) -> str:
    """Bytes as GiB."""
    return f"{size / (1 << 30):,.2f} GiB"
