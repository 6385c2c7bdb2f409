"""The recording of a scheduler: a cache that is recorded, and what its calls are for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sglang.srt.runtime_context import get_parallel

from cachepawl.cache import HybridPrefixCache
from cachepawl.config import Options
from cachepawl.observe.counters import CacheCounters
from cachepawl.offload.tier import HostTier
from cachepawl.record.recording import RecordingCache
from cachepawl.record.recording_tier import RecordingTier
from cachepawl.record.sender import Sender
from cachepawl.record.setup import setup_of
from cachepawl_launch.lookups import Ending, Lookup, Lookups

logger = logging.getLogger(__name__)


def records_here() -> bool:
    """Ranks decide alike, so the first one speaks for all; so does the first replica."""
    parallel = get_parallel()
    return parallel.tp_rank == 0 and not parallel.dp_rank


class RecordedLookups(Lookups):
    """Requests' matches and ends, said to the recording as well."""

    def __init__(self, cache: RecordingCache) -> None:
        super().__init__()
        self._cache = cache
        self.tier: RecordingTier | None = None

    def note(self, lookup: Lookup) -> None:
        super().note(lookup)
        self._cache.note_asked(*lookup)

    def end(self, rid: str, counters: CacheCounters, ending: Ending) -> None:
        super().end(rid, counters, ending)
        self._cache.note_ended(rid, *ending)
        if self.tier is not None:
            self.tier.note_sizes()


class Recorder:
    """Records a cache from its first call; the log is begun once all is known about it."""

    def __init__(self, plain: HybridPrefixCache) -> None:
        self._sender = Sender()
        self.plain = plain
        """What a host tier works on: its verbs are recorded, not each thing that they do."""
        self.cache = RecordingCache(plain, self._sender.put)
        self.lookups = RecordedLookups(self.cache)

    def record_tier(self, plain: HostTier) -> RecordingTier:
        """The host tier of the recorded cache, recorded too; before `start`."""
        self.lookups.tier = RecordingTier(plain, self._sender.put)
        return self.lookups.tier

    def start(self, options: Options, tree_cache: Any, context: Any) -> None:
        """ConfigError when the log cannot be written."""
        assert options.trace is not None
        args, params = context.server_args, context.params
        serving = {
            "model": Path(args.model_path).name,
            "grid": tree_cache.plan.grid,
            "split_prefill": tree_cache.plan.enabled,
            "extra_buffer": bool(params.enable_mamba_extra_buffer),
            "chunk": args.chunked_prefill_size,
            "tp_size": context.tp_size,
            "requests": tree_cache.req_to_token_pool.size,
        }
        self._sender.start(
            Path(options.trace),
            setup_of(self.cache, serving, self.lookups.tier),
            salt=options.trace_salt,
            part_bytes=int(options.trace_mb * 2**20),
        )
        logger.info("cachepawl: recording to %s", self._sender.path)
