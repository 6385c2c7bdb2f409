"""Makes the recorded calls again, on a fresh cache of the same geometry.

All that the cache decides follows from the calls, so every answer must be the recorded one.
The first that is not ends the comparison: nothing behind it says anything any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InputError
from cachepawl.offline.recorded.calls import Calls, Differs
from cachepawl.offline.recorded.log import Entry, Log
from cachepawl.offline.recorded.tier_calls import Followed, TierCalls
from cachepawl.offload.tier import HostTier
from cachepawl.policy.base import EvictionPolicy
from cachepawl.record.verbs import CHANGES, GAP, VERBS
from cachepawl.tree import Match


class Divergence(NamedTuple):
    """The first call that the cache answered differently."""

    where: str
    number: int
    verb: str
    recorded: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.where}: call {self.number}, {self.verb}: recorded {self.recorded}, "
            f"found {self.found}"
        )


Through = Callable[[EvictionPolicy], EvictionPolicy]
"""Gives what stands between a cache and its policy, and decides as that does."""


def nobody(policy: EvictionPolicy) -> EvictionPolicy:
    """The policy alone."""
    return policy


class Rerun:
    """A cache that follows a log; its policy may be looked at through another that asks it."""

    def __init__(self, log: Log, seen_by: Through = nobody) -> None:
        self.log = log
        self._seen_by = seen_by
        self.divergence: Divergence | None = None
        self.made = 0
        """Calls made again, with the recorded answers."""
        self.skipped = 0
        """Calls that could not be made, for the state was not known."""
        self.lost = 0
        """Calls and notes that the recording itself left out."""
        self._calls: Calls | None = None
        if log.header.part == 0:
            self._calls = self._fresh()

    @property
    def cache(self) -> HybridPrefixCache | None:
        """The cache as it was at this point; None where that is not known.

        It is not known in a recording without its first part and behind a gap, until the
        next recorded reset.
        """
        return None if self._calls is None else self._calls.cache

    @property
    def tier(self) -> HostTier | None:
        """The host tier, where one was recorded and its state is known."""
        return self._calls.tier if isinstance(self._calls, TierCalls) else None

    @property
    def found(self) -> Match | None:
        """What the latest match found, where the state is known."""
        return None if self._calls is None else self._calls.found

    def run(self) -> Iterator[Entry]:
        """Every entry, once what it says has been done; once only.

        To stop at a time or a call, stop asking: `cache` then is as it was there.
        """
        for entry in self.log.entries():
            if self.divergence is None:
                self._follow(entry)
            yield entry

    def _follow(self, entry: Entry) -> None:
        if entry.verb == GAP:
            self.lost += entry.fields[0]
            self._calls = None
        elif self._calls is not None:
            self._compare(self._calls, entry)
        elif entry.verb in ("reset", "host_reset"):
            self._calls = self._fresh(entry.fields)
        else:
            self.skipped += entry.verb in CHANGES

    def _fresh(self, reset: tuple[Any, ...] | None = None) -> Calls:
        """What follows the log from its start, or from a reset with its latest serials."""
        log = self.log
        cache = log.header.make_cache(self._seen_by(log.header.make_policy()))
        if log.header.host is None:
            return Calls(cache, log.paths, first=None if reset is None else reset[0])
        moving = Followed()
        tier = log.header.make_tier(cache, moving)
        if reset is None:
            return TierCalls(tier, moving, log.paths, first=None)
        first, first_host, why = reset
        tier.failure = why or None
        return TierCalls(tier, moving, log.paths, first=first, first_host=first_host)

    def _compare(self, calls: Calls, entry: Entry) -> None:
        count = len(VERBS[entry.verb].asked)
        asked, recorded = entry.fields[:count], entry.fields[count:]
        try:
            found = getattr(calls, entry.verb)(*asked)
        except Differs as why:
            found = (str(why),)
        except Exception as error:
            # A damaged log may ask for anything; the cache refuses it in its own words.
            found = (f"{type(error).__name__} {str(error).splitlines()[:1]}",)
        if found != recorded:
            self.divergence = Divergence(
                entry.where, entry.number, entry.verb, _text(recorded), _text(found)
            )
        else:
            self.made += entry.verb in CHANGES


def run_to(log: Log, *, call: int | None = None, seconds: float | None = None) -> Rerun:
    """The cache as it was after a call (by its number) or at a time; by default at the end.

    InputError where its state is not known: see `Rerun.cache`.
    """
    rerun = Rerun(log)
    entry = None
    for entry in rerun.run():
        late = seconds is not None and entry.at >= seconds
        if late or (call is not None and entry.number >= call):
            break
    if rerun.divergence is not None:
        raise InputError(f"{rerun.divergence}; the log is damaged or from another cachepawl")
    if rerun.cache is None:
        where = entry.where if entry else f"{log.path}"
        raise InputError(
            f"{where}: the cache's state is not known here: the recording begins later than the "
            "server did, or lost lines; choose a point behind a reset"
        )
    return rerun


def _text(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))[:200] or "nothing more"
