"""The policy of a scheduler, and where it keeps what it learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cachepawl.config import Options
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.policy.joint import Joint
from cachepawl_launch.keeper import Keeper
from cachepawl_launch.recorder import records_here
from cachepawl_launch.same_history import same_history


def make_policy(options: Options, group: Any) -> EvictionPolicy:
    """By its name, with its history.  ConfigError for a history that cannot be used.

    `group`: a CPU process group of the ranks that decide alike.
    """
    policy = POLICIES[options.policy]()
    if options.policy_history is not None:
        assert isinstance(policy, Joint), "options are checked"
        path = Path(options.policy_history)
        policy.remember(same_history(path, group))
        # Ranks decide alike, so the first one writes for all, too.
        if records_here():
            Keeper(policy, path).start()
    return policy
