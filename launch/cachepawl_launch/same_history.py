"""One history for all ranks that decide alike, whatever each finds on its own disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist

from cachepawl.errors import ConfigError
from cachepawl.policy.joint import history
from cachepawl.policy.joint.history import OldSpell


def same_history(path: Path, group: Any) -> list[OldSpell]:
    """What the first rank of a CPU process group finds in its file; every rank calls it.

    ConfigError on every rank where that one cannot read it: nobody is left waiting.
    """
    if group is None or dist.get_world_size(group) == 1:
        return history.load(path)
    told: list[list[OldSpell] | str | None] = [None]
    if dist.get_rank(group) == 0:
        try:
            told = [history.load(path)]
        except ConfigError as error:
            told = [str(error)]
    dist.broadcast_object_list(told, src=dist.get_global_rank(group, 0), group=group)
    (found,) = told
    assert found is not None, "the first rank tells something"
    if isinstance(found, str):
        raise ConfigError(found)
    return found
