"""What a rank asks of its machine before it reserves host memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cachepawl.errors import ConfigError
from cachepawl.offload.host_budget import check_host_budget, remote_memory
from cachepawl.offload.host_memory import node_of_gpu

logger = logging.getLogger(__name__)
REMOTE = "--cachepawl-host-remote"


def node_of(where: torch.device, root: Path) -> int | None:
    """The NUMA node of a device; None if it is no GPU, or nobody knows."""
    if where.type != "cuda":
        return None
    found: Any = torch.cuda.get_device_properties(where)
    address = f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    return node_of_gpu(address, root)


def alone(well: bool) -> bool:
    """The answer where there are no other ranks."""
    return well


def only_mine(node: int | None) -> list[int | None]:
    """The NUMA nodes of all ranks where there are no others."""
    return [node]


@dataclass(frozen=True)
class Machine:
    """One rank's machine, and who else reserves memory of it."""

    ranks: int = 1
    """Ranks that reserve as much here at the same time, this one among them."""
    all_well: Callable[[bool], bool] = alone
    """Whether all ranks say yes.  Each is asked once, so that none reserves before all looked."""
    nodes_here: Callable[[int | None], list[int | None]] = only_mine
    """NUMA nodes of the GPUs of all ranks here, from one's own.  Each is asked once, too."""
    remote: bool = False
    """Whether memory on another NUMA node than the GPU's will do."""
    node_of: Callable[[torch.device, Path], int | None] = node_of
    root: Path = Path("/")
    """Where /proc and /sys are."""

    def check(self, budget: int, where: torch.device) -> None:
        """ConfigError unless the machine of every rank holds `budget` bytes for each of its ranks.

        Reserves nothing.
        """
        refusal = self._refusal(budget, where)
        all_well = self.all_well(refusal is None)
        if refusal is not None:
            raise refusal
        if not all_well:
            raise ConfigError(
                f"a host tier of {budget} bytes: another rank refuses it; its message says why"
            )

    def _refusal(self, budget: int, where: torch.device) -> ConfigError | None:
        node = self.node_of(where, self.root)
        beside = self.nodes_here(node).count(node)
        try:
            check_host_budget(budget, tiers=self.ranks, root=self.root)
        except ConfigError as error:
            return error
        why = remote_memory(budget, node, self.root, tiers=beside)
        if why is None:
            return None
        if self.remote:
            logger.warning("cachepawl: %s; going on as told by %s", why, REMOTE)
            return None
        return ConfigError(f"{why}; or let it be remote with {REMOTE}")


HERE = Machine()
"""This one, of a rank that is alone."""
