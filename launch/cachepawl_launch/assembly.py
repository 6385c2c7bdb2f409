"""Builds the arena and hands SGLang its pools, allocators and prefix cache.

One `Assembly` lives in every process that runs a scheduler.  It is what the patches
call back into.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

from sglang.srt.layers.dp_attention import get_dp_tp_group
from sglang.srt.runtime_context import get_memory, get_server_args

from cachepawl.cache import HybridPrefixCache
from cachepawl.config import BACKEND, ENVIRONMENT, Options
from cachepawl.errors import CachepawlError, ConfigError
from cachepawl.offload.layers import WHOLE_PAGES
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.pool.arena import Arena
from cachepawl.pool.state_codec import forms_of
from cachepawl_launch import map_order
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.checkpoints import CheckpointCopies
from cachepawl_launch.compressed_states import CompressedRowPool
from cachepawl_launch.decisions import DecisionLog
from cachepawl_launch.evacuation import PageMover
from cachepawl_launch.host import layer_waits
from cachepawl_launch.host.agreement import agreement, all_well, nodes_here, ranks_here
from cachepawl_launch.host.machine import Machine
from cachepawl_launch.host.parts import HostFaults, open_host
from cachepawl_launch.host.steps import HostSteps
from cachepawl_launch.marks import Marks
from cachepawl_launch.movement import choose_movement
from cachepawl_launch.policy import make_policy
from cachepawl_launch.pools import ArenaHybridKVPool, ArenaMHAPool
from cachepawl_launch.recorder import Recorder, records_here
from cachepawl_launch.report import describe_cache, describe_host
from cachepawl_launch.request_pools import ArenaHybridRowPool, ArenaRowPool
from cachepawl_launch.shapes import dtypes_of
from cachepawl_launch.sizing import ArenaSizer
from cachepawl_launch.token_allocator import ArenaTokenAllocator

logger = logging.getLogger(__name__)


class Assembly:
    """The parts of one scheduler process, in the order SGLang asks for them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.sizer = ArenaSizer(options)
        self.arena: Arena | None = None
        self.cache: HybridPrefixCache | None = None
        self.copies: CheckpointCopies | None = None
        """Copies of compressed states that are not made yet; None where states are not."""
        self.mover: PageMover | None = None
        self.tree_cache: CachepawlPrefixCache | None = None
        self.recorder: Recorder | None = None
        self.host: HostSteps | None = None

    # -- pools ------------------------------------------------------------------------

    def substitutes(self, configurator: Any) -> dict[str, Any] | None:
        """What SGLang's pool builder calls instead of its own classes."""
        if not self.sizer.serves(configurator):
            return None
        if get_memory().radix_cache_backend != BACKEND:
            raise refuse(
                f"{ENVIRONMENT} is set, but SGLang was started without cachepawl's launcher; "
                f"use python -m cachepawl.launch_server, or unset it"
            )
        size = self.sizer.size
        assert size is not None, "the pools are built before their size is known"
        dtypes, device = dtypes_of(configurator), configurator.device
        try:
            forms = forms_of(size.geometry, dtypes) if size.geometry.checkpoint else None
        except ConfigError as error:
            raise refuse(str(error)) from None
        movement = choose_movement(self.options.movement, device, forms)
        self.arena = Arena(size.geometry, size.budget, device, dtypes, movement)
        self.cache = HybridPrefixCache(
            size.geometry,
            states_per_request=size.states_per_request,
            policy=make_policy(self.options, get_dp_tp_group().cpu_group),
            page_cap=size.page_cap,
            state_cap=size.state_cap,
        )
        if self.options.trace is not None and records_here():
            self.recorder = Recorder(self.cache)
            self.cache = self.recorder.cache
        if self.options.poison_freed:
            if self.arena.raw.device.type != "cpu":
                raise refuse("--cachepawl-poison-freed writes beside running kernels: CPU only")
            self.cache.frames.on_release = self.arena.poison_frame
        hybrid_rows = functools.partial(
            self._hybrid_row_pool(),
            cache=self.cache,
            arena=self.arena,
            corrupt_copies=self.options.corrupt_restored_state,
        )
        return {
            "HybridReqToTokenPool": hybrid_rows,
            "ReqToTokenPool": functools.partial(ArenaRowPool, cache=self.cache),
            "HybridLinearKVPool": functools.partial(ArenaHybridKVPool, arena=self.arena),
            "MHATokenToKVPool": _pool_class(self.arena),
            "TokenToKVPoolAllocator": self._token_allocator,
            "PagedTokenToKVPoolAllocator": self._token_allocator,
        }

    def _hybrid_row_pool(self) -> Any:
        """The class of rows, and for compressed states what copies them."""
        assert self.cache is not None
        assert self.arena is not None
        if self.cache.checkpoints is None:
            return ArenaHybridRowPool
        self.copies = CheckpointCopies(self.arena, corrupt=self.options.corrupt_restored_state)
        self.cache.checkpoints.carry = self.copies.move
        if self.cache.frames.on_release is not None:
            self.cache.frames.on_release = self.copies.before(self.cache.frames.on_release)
        return functools.partial(CompressedRowPool, copies=self.copies)

    def _token_allocator(
        self, size: int, *, dtype: Any, device: str, kvcache: Any, page_size: int = 1, **_: Any
    ) -> ArenaTokenAllocator:
        assert self.cache is not None
        return ArenaTokenAllocator(
            self.cache,
            page_size=page_size,
            dtype=dtype,
            device=device,
            kvcache=kvcache,
        )

    def check_pools(self, pools: Any) -> None:
        """ConfigError unless SGLang ended up with our pools; joins them."""
        rows, allocator = pools.req_to_token_pool, pools.token_to_kv_pool_allocator
        kv = pools.token_to_kv_pool
        wrong = [
            f"{part} is {type(found).__name__}"
            for part, found, ours in (
                ("request pool", rows, (ArenaRowPool, ArenaHybridRowPool)),
                ("KV pool", kv, (ArenaMHAPool, ArenaHybridKVPool)),
                ("KV allocator", allocator, ArenaTokenAllocator),
            )
            if not isinstance(found, ours)
        ]
        if wrong:
            raise refuse(
                "this model or platform brings its own pools: "
                + ", ".join(wrong)
                + "; serve it with python -m sglang.launch_server"
            )
        allocator.set_rows(rows.req_to_token.shape[0])
        rows.kv_allocator = allocator
        assert self.arena is not None
        assert self.cache is not None
        self.mover = PageMover(self.arena, allocator, rows.req_to_token, self._catch_up)
        self.cache.carry = self.mover

    # -- the prefix cache -----------------------------------------------------------------

    def make_tree_cache(self, context: Any) -> CachepawlPrefixCache:
        """SGLang's factory call; ConfigError for a scheduler that has not our pools."""
        if not isinstance(context.params.token_to_kv_pool_allocator, ArenaTokenAllocator):
            raise refuse("the prefix cache was asked for without cachepawl's pools")
        if context.disable_radix_cache:
            raise refuse("--disable-radix-cache: cachepawl is a prefix cache; drop either")
        if context.is_hybrid_swa:
            raise refuse("models with sliding-window layers are not served yet")
        log = self.options.decision_log
        self.tree_cache = CachepawlPrefixCache(
            context,
            check_level=self.options.check_level,
            split_prefill=self.options.split_prefill,
            decisions=DecisionLog(Path(f"{log}.{context.tp_rank}")) if log else None,
            lookups=self.recorder.lookups if self.recorder else None,
            marks=Marks(self.options.turn_opening),
        )
        if self.options.host_gb is not None:
            self.host = self._open_host(context)
            self.tree_cache.host = self.host
        if self.recorder:
            self.recorder.start(self.options, self.tree_cache, context)
        logger.info("cachepawl: tree, pools and patches are in use")
        return self.tree_cache

    def _open_host(self, context: Any) -> HostSteps:
        """The host tier of this rank; ConfigError, logged, where its memory is refused."""
        assert self.arena is not None
        assert self.cache is not None
        assert self.mover is not None
        assert self.tree_cache is not None
        size, options = self.sizer.size, self.options
        assert size is not None
        budget = options.host_bytes(size.budget)
        assert budget is not None
        faults = HostFaults(
            options.host_faults, options.host_corrupt, options.host_slow, options.host_blind
        )
        group = context.params.tp_cache_group
        machines = get_server_args().nnodes
        machine = Machine(
            ranks_here(group, machines),
            all_well(group),
            nodes_here(group, machines),
            options.host_remote,
        )
        groups = options.host_group_bytes if options.host_layerwise else WHOLE_PAGES
        try:
            parts = open_host(self.arena, budget, self.mover.streams, faults, groups, machine)
        except ConfigError as error:
            raise refuse(str(error)) from None
        tier = HostTier(
            self.recorder.plain if self.recorder else self.cache,
            parts.arena.geometry,
            parts.orders,
            WRITE_POLICIES[options.write_policy](),
        )
        tier.loads.before_start = self._catch_up
        waits = None
        if options.host_layerwise:
            pools = context.params
            kv_pool = pools.token_to_kv_pool_allocator.get_kvcache()
            waits = layer_waits.register(
                kv_pool, pools.req_to_token_pool, parts.copies, blind=faults.blind
            )
        steps = HostSteps(
            self.recorder.record_tier(tier) if self.recorder else tier,
            parts,
            self.tree_cache,
            agreement(group),
            waits,
        )
        if self.recorder and self.recorder.lookups.tier:
            steps.loader.note_brought = self.recorder.lookups.tier.note_brought
        return steps

    def host_steps(self) -> HostSteps:
        """What the patches of the scheduler's steps call."""
        assert self.host is not None, "a step before the prefix cache was made"
        return self.host

    # -- every step -----------------------------------------------------------------------

    def before_decode(self, batch: Any, token_per_req: int) -> None:
        """Tell the allocator whose tokens a decode step allocates."""
        allocator = batch.token_to_kv_pool_allocator
        if isinstance(allocator, ArenaTokenAllocator):
            assert token_per_req == 1, "speculative decoding is refused"
            allocator.expect_next(batch.req_pool_indices_cpu.numpy(), batch.seq_lens_cpu.numpy())

    def after_allocation(self, batch: Any, beyond: int) -> None:
        """The checks of a step, if any are wanted."""
        if self.options.check_level and batch.tree_cache is self.tree_cache:
            assert self.tree_cache is not None
            lengths = [n + beyond for n in batch.seq_lens_cpu.tolist()]
            self.tree_cache.check_step(batch.reqs, lengths)

    def start_forward(self, model_runner: Any) -> None:
        """On the forward stream: copy compressed states, clear frames that turned to KV."""
        if self.mover is None or model_runner.is_draft_worker:
            return
        self.mover.forward_started()
        self._catch_up()

    def _catch_up(self) -> None:
        """Copy compressed states, then clear frames that turned to KV, on the current stream."""
        assert self.cache is not None
        assert self.arena is not None
        if self.copies is not None:
            self.copies.flush()
        frames = self.cache.frames
        if frames.turned_to_kv:
            turned, frames.turned_to_kv = frames.turned_to_kv, []
            self.arena.zero_frames(turned)

    # -- looking --------------------------------------------------------------------------

    def describe(self, scheduler: Any) -> dict[str, Any] | None:
        """The `cachepawl` section of `/server_info`."""
        if self.tree_cache is None or self.arena is None:
            return None
        section = describe_cache(self.tree_cache, self.arena.movement)
        if self.host is not None:
            section["host"] = describe_host(self.host.tier)
        return section

    def push_metrics(self) -> None:
        """The server is idle: what changed last is said too."""
        if self.tree_cache is not None:
            self.tree_cache.push_metrics()

    def draw_map(self, request_id: str | None) -> dict[str, Any] | None:
        """A picture of the cache, if maps are served and the request orders one."""
        if self.cache is None or not self.options.map:
            return None
        host = None if self.host is None else self.host.tier.host
        return map_order.draw(self.cache, host, request_id)


def _pool_class(arena: Arena) -> type[ArenaMHAPool]:
    """A class, for SGLang compares pool classes by identity while it builds."""

    class BoundArenaMHAPool(ArenaMHAPool):
        def __init__(self, size: int = 0, **stock: Any) -> None:
            super().__init__(size, arena=arena, **stock)

    return BoundArenaMHAPool


def refuse(why: str) -> CachepawlError:
    """A ConfigError that is also logged as one line, above SGLang's traceback."""
    logger.error("cachepawl: %s", why)
    return ConfigError(why)
