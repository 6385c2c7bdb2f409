"""Write what is about to be evicted."""

from __future__ import annotations


class WriteBack:
    """Nothing is written because it is used."""

    name = "write_back"
    before_eviction = True

    def wants(self, uses: int) -> bool:
        return False
