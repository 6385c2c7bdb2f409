"""The policy of a scheduler, and where it keeps what it learned."""

from __future__ import annotations

from pathlib import Path

from cachepawl.config import Options
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.policy.joint import Joint, history
from cachepawl_launch.keeper import Keeper
from cachepawl_launch.recorder import records_here


def make_policy(options: Options) -> EvictionPolicy:
    """By its name, with its history.  ConfigError for a history that cannot be used."""
    policy = POLICIES[options.policy]()
    if options.policy_history is not None:
        assert isinstance(policy, Joint), "options are checked"
        path = Path(options.policy_history)
        policy.remember(history.load(path))
        # Ranks decide alike, so the first one writes for all.
        if records_here():
            Keeper(policy, path).start()
    return policy
