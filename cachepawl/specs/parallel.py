"""How heads, channels and groups are split over tensor-parallel ranks.

Every rule is the one SGLang 0.5.23 applies; where it would stop with an assertion, a
ConfigError says what divides.
"""

from __future__ import annotations

from cachepawl.errors import ConfigError


def shard(what: str, count: int, tp: int) -> int:
    """This rank's share of `count`; ConfigError unless `tp` divides it."""
    require_tp(tp)
    if count % tp:
        raise ConfigError(
            f"{count} {what} do not divide by {tp} tensor-parallel ranks; "
            f"use a --tp-size that divides {count}"
        )
    return count // tp


def kv_heads_of_rank(heads: int, tp: int) -> int:
    """KV heads of a rank: a share, or one copy when there are fewer heads than ranks."""
    require_tp(tp)
    if heads >= tp:
        return shard("KV heads", heads, tp)
    if tp % heads:
        raise ConfigError(
            f"{heads} KV heads cannot be copied evenly to {tp} tensor-parallel ranks; "
            f"use a --tp-size that is a multiple or a divisor of {heads}"
        )
    return 1


def groups_of_rank(groups: int, tp: int) -> int:
    """Groups of B and C of a rank: a share, or a copy of the only one.

    SGLang extends one group to `tp` groups, so the convolution's channels over all
    ranks grow; it serves no other number that does not divide.
    """
    require_tp(tp)
    if groups == 1:
        return 1
    return shard("SSM groups", groups, tp)


def require_tp(tp: int) -> None:
    """ConfigError unless `tp` is a positive number."""
    if tp < 1:
        raise ConfigError(f"--tp-size {tp} is not positive; use 1 or more")
