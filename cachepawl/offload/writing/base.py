"""What a write policy is.  It decides when; what is written is the same under all."""

from __future__ import annotations

from typing import Protocol


class WritePolicy(Protocol):
    """Decides when a node's end is written back."""

    name: str
    """For reports."""
    before_eviction: bool
    """Whether what is to be evicted next is written first."""

    def wants(self, uses: int) -> bool:
        """Whether a node that was used so often is written now.

        Publishing is a use, and so is every admission that starts there.
        """
