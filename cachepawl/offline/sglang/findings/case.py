"""What checks ask about a configuration: values that follow from facts and flags.

Rules of SGLang 0.5.23, each with its place below `sglang/srt`:

    page          tokens of a tree page: page_size * dcp_size     mem_cache/allocation_sizing.py
    grid          lcm(max(state chunk, page_size), page)          runtime_context.py
    track grid    lcm(grid, mamba_track_interval)                 runtime_context.py
    slots held    1 active + tracking slots                       mem_cache/memory_pool.py
    tracking      2 with overlap scheduling, else 1; lazy 1       mem_cache/allocation_sizing.py
    reserved      3 + tracking slots a running request            mem_cache/kv_cache_configurator.py

A snapshot is taken once a prefill forward, at its last grid point, and in decode at
multiples of the track grid; without the extra buffer where a chunk or an answer ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, lcm

from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.inputs.accounts import attention_ranks
from cachepawl.offline.sglang.inputs.facts import Facts, Missing
from cachepawl.offline.sglang.memory.settle import tracks_states
from cachepawl.specs import ModelSpec

BASE_SLOTS = 3
"""Of a running request besides its tracking slots, as SGLang caps requests."""
SKIP_LOCK = "SGLANG_OPT_MAMBA_SKIP_DECODE_LOCK"


@dataclass(frozen=True)
class Case:
    """One configuration.  Properties raise Missing for what they lack."""

    facts: Facts
    known_flags: ServerFlags | None = None
    spec: ModelSpec | None = None
    cachepawl: bool = False
    """Whether the server runs cachepawl's cache."""
    refused: str | None = None
    """Why the ranks or the memory cannot hold the model and one request, if they cannot."""

    @property
    def flags(self) -> ServerFlags:
        if self.known_flags is None:
            raise Missing("the server's flags (--flags, --launch, --server-info or --log)")
        return self.known_flags

    def need(self, name: str) -> int | float:
        return self.facts.need(name)

    def count(self, name: str) -> int:
        return self.facts.count(name)

    @property
    def has_states(self) -> bool:
        if self.spec is not None:
            return bool(self.spec.states)
        if self.facts.get("state_slots") is not None:
            return True
        raise Missing("whether the model keeps states (--model, or --log of a running server)")

    @property
    def static_states(self) -> bool:
        """Whether states have a pool of their own, divided off at start."""
        return self.has_states and not self.flags.enable_unified_memory and not self.cachepawl

    @property
    def page_size(self) -> int:
        known = self.facts.get("page_tokens")
        return round(known) if known is not None else self.flags.page_size or 1

    @property
    def tree_page(self) -> int:
        return self.page_size * self.flags.dcp_size

    @property
    def strategy(self) -> str:
        """`no_buffer`, `extra_buffer` or `extra_buffer_lazy`, as SGLang settles "auto"."""
        flags = self.flags
        if flags.mamba_radix_cache_strategy != "auto":
            return flags.mamba_radix_cache_strategy
        if self.spec is None:
            raise Missing("the model (--model), or --mamba-radix-cache-strategy in the flags")
        wants = not flags.disable_overlap_schedule or (flags.page_size or 1) > 1
        return "extra_buffer" if wants and tracks_states(self.spec, flags) else "no_buffer"

    @property
    def tracked(self) -> bool:
        """Whether states are snapshots on a grid."""
        return self.strategy != "no_buffer" and not self.flags.disable_radix_cache

    @property
    def tracking_slots(self) -> int:
        if not self.tracked:
            return 0
        lazy = self.strategy == "extra_buffer_lazy"
        return 1 if lazy or self.flags.disable_overlap_schedule else 2

    @property
    def slots_held(self) -> int:
        """State slots that a running request owns."""
        return 1 + self.tracking_slots

    @property
    def slots_locked(self) -> int:
        """Cached states that a running request keeps from eviction."""
        return 0 if self._skips_lock or self.flags.disable_radix_cache else 1

    @property
    def slots_reserved(self) -> int:
        """State slots by which SGLang divides the pool to cap running requests."""
        if self.flags.disable_radix_cache:
            return 1
        return BASE_SLOTS - (self._skips_lock and self.tracked) + self.tracking_slots

    @property
    def _skips_lock(self) -> bool:
        value = self.flags.environment_value(SKIP_LOCK) or ""
        return value.lower() in ("1", "true", "yes", "y")

    @property
    def grid(self) -> int:
        """Tokens; prefill snapshots lie on multiples of it."""
        if not self.tracked:
            return 1
        return lcm(max(self.count("state_chunk"), self.page_size), self.tree_page)

    @property
    def track_grid(self) -> int:
        """Tokens; snapshots in decode lie on multiples of it."""
        return lcm(self.grid, self.flags.mamba_track_interval)

    @property
    def chunk(self) -> int | None:
        """Tokens of a request in one prefill forward at most, in whole pages; None: no limit."""
        known, given = self.facts.get("chunk_tokens"), self.flags.chunked_prefill_size
        if known is None and given is not None:
            known = given // self.attention_ranks if given > 0 else given
        if known is None:
            known = self.need("chunk_tokens")
        if known <= 0:
            return None
        return max(self.page_size, round(known) // self.page_size * self.page_size)

    @property
    def running(self) -> int:
        """Requests running at once, at most."""
        return self.count("running_limit")

    @property
    def attention_ranks(self) -> int:
        """Groups of ranks with attention and pools of their own, which divide the limits."""
        return attention_ranks(self.flags)

    @property
    def ratio(self) -> float:
        """`--mamba-full-memory-ratio`, 0.9 where nobody set it."""
        given = self.flags.mamba_full_memory_ratio
        return 0.9 if given is None else given

    @property
    def workload(self) -> tuple[int, int]:
        """Tokens of a typical prompt and of a typical answer."""
        return self.count("typical_prompt"), self.count("typical_answer")

    @property
    def context(self) -> int:
        """Tokens of a running request."""
        if self.facts.get("context") is None and self.facts.get("typical_prompt") is not None:
            return sum(self.workload)
        return self.count("context")

    def states_of(self, prompt: int, answer: int) -> int:
        """States that one finished request leaves in the cache.

        One a prefill forward that computes a grid of tokens, and the last one in decode if
        the answer reaches the track grid; without the extra buffer one a forward and one at
        the end.  The last token of an answer is never computed.
        """
        chunk = self.chunk or prompt
        full = max(0, ceil(prompt / chunk) - 1)
        if self.tracked:
            taken = full * (chunk >= self.grid) + (prompt - full * chunk >= self.grid)
            taken += (prompt + answer - 1) // self.track_grid > prompt // self.track_grid
        else:
            taken = full + 2
        most = self.flags.mamba_max_states_per_path
        return min(taken, most) if most > 0 else taken

    def cache_slots(self, running: int) -> int:
        """State slots that are left to the cache while `running` requests run."""
        slots = self.count("state_slots")
        if self.flags.enable_int8_mamba_checkpoint:
            return self.flags.int8_mamba_ckpt_size or 2 * slots
        return slots - running * self.slots_held
