"""SGLang's `BasePrefixCache` over `HybridPrefixCache`: translation, no decisions.

SGLang's words -> ours: a tree handle is a `Node`; `match_prefix` -> `match`;
`lock`/`unlock` pass our receipts through; `checkpoint` -> `publish`; `free_kv_row` ->
`release`.  Keys share the memory layout of SGLang's token arrays, pages are host ints.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

import torch
from sglang.srt.mem_cache.base_prefix_cache import (
    BasePrefixCache,
    CacheRequestHandle,
    CacheRequestOutcome,
    DecLockRefParams,
    DecLockRefResult,
    EvictParams,
    EvictResult,
    IncLockRefResult,
    MatchResult,
    TreeLock,
)

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InvariantError
from cachepawl.offload.matching import TierMatch, alone
from cachepawl.offload.tier import HostTier
from cachepawl.pool.uploads import to_device
from cachepawl.snapshots import SnapshotPlan
from cachepawl.tree import Lock, Miss, Node, Reason
from cachepawl.types import Key, Runs
from cachepawl_launch.boarding import Boarding
from cachepawl_launch.decisions import DecisionLog
from cachepawl_launch.handover import make_handover
from cachepawl_launch.indices import key_of, make_key, token_ids
from cachepawl_launch.kv_events import published
from cachepawl_launch.lookups import Ending, Lookup, Lookups
from cachepawl_launch.marks import Marks
from cachepawl_launch.metrics import Metrics
from cachepawl_launch.states import Offer
from cachepawl_launch.stops import Candidate, Stops

logger = logging.getLogger(__name__)


class Receipt(IncLockRefResult):
    """Carries our one-shot receipt through SGLang's pair of lock calls."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(node_id=id(lock.node))
        self.lock = lock

    def to_dec_params(self) -> DecLockRefParams:
        params = super().to_dec_params()
        params.lock = self.lock
        return params


class HostPart(Protocol):
    """What the prefix cache tells a host tier."""

    tier: HostTier

    def settle(self, rid: str) -> None:
        """The request is gone."""

    def boarding(self, rid: str) -> Boarding | None:
        """Where a waiting request may begin although its prefix is being loaded."""

    def land(self, req: Any) -> None:
        """Know what came of the load that a request runs on, if it runs on one."""

    def refused_alone(self) -> bool:
        """Nothing runs and nothing fits; True when something was let go of."""

    def reset(self) -> None:
        """Empty both tiers."""

    def close(self) -> None:
        """The process ends."""

    def stats(self) -> dict[str, int]:
        """Sizes and totals."""


class CachepawlPrefixCache(BasePrefixCache):
    """The prefix cache that SGLang's scheduler drives when cachepawl is wanted."""

    def __init__(
        self,
        context: Any,
        *,
        check_level: int,
        split_prefill: bool,
        decisions: DecisionLog | None = None,
        lookups: Lookups | None = None,
        marks: Marks | None = None,
    ) -> None:
        params = context.params
        self.req_to_token_pool = params.req_to_token_pool
        self.token_to_kv_pool_allocator = params.token_to_kv_pool_allocator
        self.page_size = params.page_size
        self.disable = False
        self.sliding_window_size = None
        self.cache: HybridPrefixCache = self.token_to_kv_pool_allocator.cache
        self.check_level = check_level
        self.handover = make_handover(
            self.cache, self.req_to_token_pool, extra_buffer=params.enable_mamba_extra_buffer
        )
        self.plan = SnapshotPlan(self.handover.grid, split_prefill and self.supports_mamba())
        self.lookups = lookups or Lookups()
        self._decisions = decisions
        self._latest: Lookup | None = None
        self.marks = marks or Marks(())
        self.stops = Stops(self.plan, self.marks, self.cache.counters, self.page_size)
        self.host: HostPart | None = None
        """The host tier, once there is one."""
        self._drop_prefix_of: str | None = None
        self._spoilt: set[str] = set()
        """Requests that computed on bytes which never came: nothing of them is published."""
        if params.enable_kv_cache_events:
            self.cache.tree.log_events()
        self.metrics: Metrics | None = None
        if params.enable_metrics:
            self.init_metrics_collector()
            cache = self.cache
            self.metrics = Metrics(
                self.metrics_collector, self.stats, cache.counters, cache.geometry
            )

    # -- traits ---------------------------------------------------------------------

    def supports_mamba(self) -> bool:
        return self.cache.geometry.state is not None

    @property
    def root_node(self) -> Node:
        return self.cache.tree.root

    def reset(self) -> None:
        """Forget everything; SGLang calls this when nothing runs (`/flush_cache`)."""
        if self.host is None:
            self.cache.reset()
        else:
            self.host.reset()
        self.lookups.clear()
        self.stops.clear()
        self._latest = self._drop_prefix_of = None
        self.log("reset")

    # -- match ------------------------------------------------------------------------

    def match_prefix(self, params: Any) -> MatchResult:
        """The usable prefix.  Takes nothing: the state is copied once the request is admitted."""
        radix, req = params.key, params.req
        limit = len(radix)
        key = make_key(radix.token_ids, radix.extra_key, radix.cache_salt)
        found = self._look(key, limit)
        match = found.device
        usable = match.usable_len
        node: Node | Boarding = match.node
        dropped = req is not None and req.rid == self._drop_prefix_of
        if dropped:
            usable, node = 0, self.root_node
        kv_len = min(match.kv_len, limit)
        place = None if req is None or dropped else self._boarding(req.rid, limit)
        if place is not None:
            usable, node, kv_len = place.end, place, max(kv_len, place.end)
        # KV without a state is where prompts part, whichever tier has it.
        deepest = max(kv_len, min(found.kv_len, limit))
        branch = self.plan.branch_point(deepest, usable) if self.supports_mamba() else None
        if req is not None:
            prompt = len(radix.token_ids)
            missed = [Miss(Reason.DROPPED, prompt, prompt)]
            if not dropped:
                missed = self._explain(key, found, limit)
            if place is not None:
                missed = [miss for miss in missed if miss.reason is not Reason.OTHER_TIER]
            self._latest = Lookup(req.rid, prompt, usable, branch, missed)
            self.lookups.note(self._latest)
            # Who is to begin without its prefix, or on a load, does not wait for other states.
            most = 0 if dropped or place is not None else limit
            self.stops.matched(Candidate(req, key, prompt, usable, branch, most))
        self.log("match", len(radix.token_ids), match.kv_len, usable)
        return MatchResult(
            device_prefix_len=usable,
            last_device_node=node,
            last_host_node=node,
            best_match_node=node,
            mamba_branching_seqlen=branch,
            cache_protected_len=usable if place is None else place.start,
            full_kv_hit_length=kv_len,
        )

    def _boarding(self, rid: str, limit: int) -> Boarding | None:
        place = None if self.host is None else self.host.boarding(rid)
        return None if place is None or place.end > limit else place

    def _look(self, key: Key, limit: int | None) -> TierMatch:
        if self.host is None:
            return alone(self.cache.match(key, limit))
        return self.host.tier.match(key, limit)

    def _explain(self, key: Key, found: TierMatch, limit: int | None) -> list[Miss]:
        if self.host is None:
            return self.cache.tree.explain(key, found.device, limit)
        return self.host.tier.explain(key, found, limit)

    def awaited(self, req: Any) -> tuple[Key, int] | None:
        """What a waiting request will be matched by, and to what depth; None if by nothing."""
        if req.positional_embed_overrides is not None or req.rid == self._drop_prefix_of:
            return None
        tokens = req.origin_input_ids + req.output_ids
        key = make_key(tokens, req.extra_key, req.cache_salt)
        return key, req._compute_max_prefix_len(len(tokens))

    def touch_prefix(self, key: Any) -> None:
        self.cache.touch(make_key(key.token_ids, key.extra_key, key.cache_salt))

    def path_device_indices(self, node: Node | Boarding) -> torch.Tensor:
        if isinstance(node, Boarding):
            return self._indices(self.cache.refs.pages(node.row, 0, node.end // self.page_size))
        return self._indices(self.cache.tree.path_pages(node))

    def _indices(self, runs: Runs) -> torch.Tensor:
        return to_device(token_ids(runs, self.page_size), self.token_to_kv_pool_allocator.device)

    # -- admission, asked by the prefill budget -----------------------------------------

    def refused(self, *, nothing_pending: bool) -> None:
        """The candidate did not fit.  On an idle server only its own prefix is in the way."""
        look = self._latest
        if not nothing_pending or self.cache.refs.rows:
            return
        if self.host is not None and self.host.refused_alone():
            return
        if look is not None and look.usable:
            self._drop_prefix_of = look.rid
            self.cache.counters.prefixes_dropped += 1

    # -- locks --------------------------------------------------------------------------

    def lock(self, node: Node | Boarding) -> Lock | None:
        return None if isinstance(node, Boarding) else self.cache.lock(node)

    def unlock(self, lock: Lock | TreeLock | None) -> None:
        if isinstance(lock, TreeLock):
            self.dec_lock_ref(lock.node, lock.receipt)
        elif lock is not None:
            self.cache.unlock(lock)

    def inc_lock_ref(self, node: Node) -> IncLockRefResult:
        return Receipt(self.cache.lock(node))

    def dec_lock_ref(self, node: Node, params: Any = None) -> DecLockRefResult:
        self.cache.unlock(params.lock)
        return DecLockRefResult()

    # -- a request's KV ----------------------------------------------------------------

    def landed(self, req: Any, node: Node, length: int, *, replaced: bool) -> None:
        """The load that a request ran on has ended: the tree has `length` tokens of it now.

        They are on the path to `node`, which is held by somebody else meanwhile.
        """
        if replaced:
            self._rewrite(req.kv.req_pool_idx, length)
        req.lock, req.last_node = self.cache.lock_path(node), node
        req.kv.cache_protected_len = req.kv.cache_inserted_len = length

    def _rewrite(self, row: int, length: int) -> None:
        """The device's row begins with other pages than before."""
        pages = self.cache.refs.pages(row, 0, length // self.page_size)
        self.req_to_token_pool.write((row, slice(0, length)), self._indices(pages).to(torch.int32))

    def spoil(self, rid: str) -> None:
        """What a request computed is worth nothing: it leaves the tree as it is."""
        self._spoilt.add(rid)

    def claim_kv_row(self, req: Any) -> bool:
        """Asked before a row is given back; nobody claims one."""
        if self.host is not None:
            self.host.land(req)
        return False

    def checkpoint(self, req: Any, *, up_to: int, **kwargs: Any) -> None:
        """Publish the request's KV as deep as its newest state, and that state."""
        if self.host is not None:
            self.host.land(req)
        self._checkpoint(req, up_to, leaves=req.finished())
        self.stops.left(req.rid)

    def leave_resumable(self, req: Any) -> None:
        """A running request is about to be retracted: it leaves what it can go on from.

        That is its newest state of tokens whose result is known, no deeper than it will be
        matched: less the last token, and SGLang computes again what log-probabilities are asked
        of.  What a forward under way computes beyond them is lost.
        """
        req.refresh_fill_ids()
        most = req._compute_max_prefix_len(len(req.origin_input_ids) + len(req.output_ids))
        self._checkpoint(req, min(most, req.owned_kv_len()), leaves=True)

    def _checkpoint(self, req: Any, up_to: int, *, leaves: bool) -> None:
        key, offer = key_of(req), Offer()
        if req.rid not in self._spoilt:
            offer = self.handover.offer(
                req, up_to, lambda depth: self._has_state(key, depth), leaves
            )
        depth = offer.depth // self.page_size * self.page_size
        taken = False
        if depth > req.kv.cache_protected_len:
            taken = self._publish(req, key, depth, offer.slot)
        if offer.refused:
            self.cache.note_locked_out(key, offer.refused)
        self.handover.settle(req, offer, taken, leaves)
        self._check(self.check_level)

    def _has_state(self, key: Key, depth: int) -> bool:
        found = self.cache.tree.peek(key, depth)
        return found.usable_len == depth

    def _publish(self, req: Any, key: Key, depth: int, slot: int | None) -> bool:
        row = req.kv.req_pool_idx
        done = self.cache.publish(row, key, depth, slot)
        if done.replaced:
            self._rewrite(row, depth)
        new = self.cache.lock_path(done.node)
        self.unlock(req.lock)
        req.lock = new
        req.last_node = done.node
        req.kv.cache_protected_len = req.kv.cache_inserted_len = depth
        if self.host is not None:
            self.host.tier.published(done)
        self.log("publish", row, depth, slot, done.state_taken, done.replaced, done.node.pages)
        return done.state_taken

    def free_kv_row(self, kv: Any, ranges: list[tuple[int, int]]) -> None:
        """Give back own tokens of a row, by host page ids."""
        for start, stop in _merged(ranges):
            self.cache.release(kv.req_pool_idx, start, stop)

    def on_release(self, req: Any, *, checkpointed: bool) -> None:
        if not checkpointed and req.kv.holds_mamba:
            self.req_to_token_pool.free_mamba_cache(req)
        if req.rid == self._drop_prefix_of:
            self._drop_prefix_of = None
        self._spoilt.discard(req.rid)
        self.stops.ended(req.rid)
        self.lookups.end(req.rid, self.cache.counters, _ending(req))
        self.push_metrics()
        self.log("release", checkpointed, self.cache.frames.kv_pages, self.cache.frames.states)

    def finish(self, handle: CacheRequestHandle, outcome: CacheRequestOutcome) -> None:
        """A request has ended, or gave up in the queue: nothing is kept for it."""
        super().finish(handle, outcome)
        self.stops.ended(handle.rid)
        if self.host is not None:
            self.host.settle(handle.rid)

    def release_host_resources(self) -> None:
        """The process ends."""
        if self.host is not None:
            self.host.close()

    # -- eviction ----------------------------------------------------------------------

    def evict(self, params: EvictParams) -> EvictResult:
        """Exactly these kinds, least recently used first."""
        start, counters = time.perf_counter(), self.cache.counters
        states_before = counters.evicted_states
        tokens = self.cache.evict_tokens(max(params.num_tokens, 0))
        gone = counters.evicted_states - states_before
        self.cache.evict_states(max(params.mamba_num - gone, 0))
        self.update_eviction_metrics(tokens, start)
        return EvictResult(
            num_tokens_evicted=tokens, mamba_num_evicted=counters.evicted_states - states_before
        )

    def evict_for_alloc(
        self, params: EvictParams, *, allocation_reclaim_satisfied: Any = None
    ) -> EvictResult:
        """Shortfalls of either kind, met from one budget."""
        start, counters, frames = time.perf_counter(), self.cache.counters, self.cache.frames
        before = counters.evicted_tokens, counters.evicted_states
        if params.num_tokens > 0:
            pages = -(-params.num_tokens // self.page_size)
            self.cache.make_room_for_pages(frames.available_pages + pages)
        if params.mamba_num > 0:
            self.cache.make_room_for_states(frames.available_states + params.mamba_num)
        tokens = counters.evicted_tokens - before[0]
        self.update_eviction_metrics(tokens, start)
        return EvictResult(
            num_tokens_evicted=tokens, mamba_num_evicted=counters.evicted_states - before[1]
        )

    # -- events -----------------------------------------------------------------------

    def take_events(self) -> list[Any]:
        """What entered and left since the last call, as SGLang publishes it."""
        log = self.cache.tree.events
        return [] if log is None else published(log.take(), self.page_size)

    # -- sizes -------------------------------------------------------------------------

    def full_evictable_size(self) -> int:
        return self.cache.tree.full_evictable

    def full_protected_size(self) -> int:
        return self.cache.tree.full_protected

    def mamba_evictable_size(self) -> int:
        """State slots, which are frames, that eviction would free."""
        return self.cache.store.evictable_frames()

    def mamba_protected_size(self) -> int:
        return self.cache.store.frames_held() - self.cache.store.evictable_frames()

    evictable_size = full_evictable_size
    protected_size = full_protected_size

    def total_size(self) -> tuple[int, int]:
        tree = self.cache.tree
        return (
            tree.full_evictable + tree.full_protected,
            tree.state_evictable + tree.state_protected,
        )

    def all_values_flatten(self) -> torch.Tensor:
        return self._indices(Runs.concat(node.pages for node in self.cache.tree.walk()))

    def all_mamba_values_flatten(self) -> torch.Tensor:
        """The slots, which are frames, that hold states of the tree."""
        states = (n.state for n in self.cache.tree.walk() if n.state is not None)
        frames = sorted({self.cache.store.frame_of(state) for state in states})
        return torch.tensor(frames, dtype=torch.int64)

    # -- checks and looking ---------------------------------------------------------------

    def _check(self, level: int) -> None:
        (self.cache if self.host is None else self.host.tier).check(level)

    def sanity_check(self) -> None:
        """SGLang's own check between requests: without rows, nothing may be locked."""
        self._check(max(1, self.check_level))
        tree = self.cache.tree
        if not self.cache.refs.rows and (tree.full_protected or tree.state_protected):
            raise InvariantError(f"locked while idle\n{tree.render()}")

    def check_step(self, reqs: list[Any], lengths: list[int]) -> None:
        """After a batch got its KV: invariants, and at level 2 every device row."""
        if self.check_level:
            self._check(self.check_level)
        if self.check_level >= 2:
            for req, length in zip(reqs, lengths, strict=True):
                self._check_row(req, length)

    def _check_row(self, req: Any, length: int) -> None:
        row = req.kv.req_pool_idx
        device = self.req_to_token_pool.req_to_token[row, :length].cpu().to(torch.int64)
        wanted = torch.from_numpy(self.token_to_kv_pool_allocator.expected_row(row, length))
        if not torch.equal(device, wanted):
            at = int((device != wanted).nonzero()[0])
            raise InvariantError(
                f"row {row} of request {req.rid}: the device has token id {int(device[at])} at "
                f"position {at} of {length}, the mirror {int(wanted[at])}"
            )

    def stats(self) -> dict[str, int]:
        """Sizes and totals of the device, and of the host where there is one."""
        return self.cache.stats() | ({} if self.host is None else self.host.stats())

    def push_metrics(self) -> None:
        """To `/metrics`, where that is served; called often, for nothing is pushed too often."""
        if self.metrics is not None:
            self.metrics.push_if_due()

    def available_and_evictable_str(self) -> str:
        return f"cachepawl: {self.cache.stats()}\n"

    def pretty_print(self) -> None:
        logger.info("%s\n%s", self.cache.stats(), self.cache.tree.render())

    def log(self, *words: object) -> None:
        """A line in the log of decisions, if one is kept."""
        if self._decisions is not None:
            c = self.cache.counters
            totals = (c.evicted_tokens, c.evicted_states, c.admissions_refused, c.evacuated_pages)
            self._decisions.write(*words, *totals)


def _ending(req: Any) -> Ending:
    reason = req.finished_reason
    how = "retracted" if reason is None else str(reason.to_json()["type"])
    return Ending(req.kv.req_pool_idx, req.cached_tokens, len(req.output_ids), how)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adjacent ranges as one, so that a page across a seam is given back once."""
    out: list[tuple[int, int]] = []
    for start, stop in ranges:
        if start >= stop:
            continue
        if out and start == out[-1][1]:
            out[-1] = (out[-1][0], stop)
        else:
            out.append((start, stop))
    return out
