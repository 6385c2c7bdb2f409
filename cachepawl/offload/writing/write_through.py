"""Write what was used often enough, at once."""

from __future__ import annotations


class WriteThrough:
    """From the `least`-th use on; the first is being published."""

    before_eviction = False

    def __init__(self, least: int = 1) -> None:
        self.name = "write_through"
        self.least = least

    def wants(self, uses: int) -> bool:
        return uses >= self.least
