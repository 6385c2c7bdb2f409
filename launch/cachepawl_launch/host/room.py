"""Whether this machine holds the host tiers of all ranks, asked before any of them starts."""

from __future__ import annotations

from typing import Any

from cachepawl.config import Options
from cachepawl.offload.host_budget import check_host_budget, host_geometry, parse_host_size
from cachepawl.pool.capacity import Capacity


def check_room(capacity: Capacity | None, view: Any, options: Options) -> str | None:
    """A line about the host tiers to be, None without any; ConfigError where they do not fit.

    `capacity` of the device as far as it is known, `view` SGLang's resolved arguments.  A
    multiple of a device budget that is not known yet is checked by the ranks alone.
    """
    if options.host_gb is None:
        return None
    size = parse_host_size(options.host_gb)
    if size.times_device and (capacity is None or not capacity.exact):
        return f"host tier: {size.amount:g} times the arena, checked once its size is known"
    budget = size.of(capacity.budget if capacity is not None else 0)
    if capacity is not None:
        host_geometry(capacity.geometry, budget)
    ranks = max(1, view.tp_size * view.dp_size // view.nnodes)
    check_host_budget(budget, tiers=ranks)
    return f"host tier: {budget:,} bytes on each of {ranks} ranks, {options.write_policy}"
