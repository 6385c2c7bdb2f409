"""What one recorded request hit and missed in the server itself, and what had evicted that."""

from __future__ import annotations

from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.requests import Missed, Scan, Waiting
from cachepawl.offline.recorded.rerun import Rerun
from cachepawl.offline.replay.explain import Explained, not_there
from cachepawl.offline.replay.witness import Decision, Witness
from cachepawl.policy.base import EvictionPolicy
from cachepawl.tree import Miss, Reason


class _Seen:
    """Makes the witness of a cache; of a new one after a reset that begins a re-run."""

    witness: Witness | None = None

    def __call__(self, policy: EvictionPolicy) -> EvictionPolicy:
        self.witness = Witness(policy)
        return self.witness


def explain_recorded(path: Path, number: int) -> Explained:
    """Run a recording again up to the last time that a request asked, and tell of that.

    `number`: 1 for the first request that asked.  Its reasons are those of the server.
    InputError for a number that is not there, and where the re-run differs before it.
    """
    log, seen, scan = Log(path), _Seen(), Scan()
    rerun, told = Rerun(log, seen), None
    for entry in rerun.run():
        for ended in scan.follow(entry, None):
            if ended.ordinal == number and told is not None:
                return told
        asking = scan.asking
        if asking is not None:
            if seen.witness is not None:
                seen.witness.request, seen.witness.at = scan.count, entry.at
            if asking.ordinal == number:
                told = _told(rerun, seen.witness, asking)
    if told is None:
        raise not_there(number, "recording", scan.count)
    return told


def _told(rerun: Rerun, witness: Witness | None, asking: Waiting) -> Explained:
    if rerun.divergence is not None:
        raise InputError(f"{rerun.divergence}; nothing behind that can be explained")
    header, cache = rerun.log.header, rerun.cache
    geometry = header.make_geometry()
    key = rerun.log.paths.key(asking.place)

    def cause(miss: Miss) -> Decision | None:
        if witness is None or cache is None:  # before the first reset of a torn recording
            return None
        return witness.cause(miss, key, geometry.page_tokens, cache.tree.clock)

    misses = [(miss, cause(miss)) for miss in map(_miss, asking.missed)]
    budget = geometry.num_frames * geometry.frame_bytes
    return Explained(header.policy, budget, asking.at, asking.prompt, asking.recorded, misses)


def _miss(missed: Missed) -> Miss:
    return Miss(Reason(missed.reason), *missed[1:])
