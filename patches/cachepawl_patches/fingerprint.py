"""The SGLang source that cachepawl was written against, target by target.

`python -m cachepawl_patches.fingerprint` prints the table for the installed SGLang.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pkgutil

SGLANG_VERSION = "0.5.23"

_MEM = "sglang.srt.mem_cache"
_SIZER = f"{_MEM}.kv_cache_configurator.KVCacheConfigurator"
_MANAGERS = "sglang.srt.managers"

_REPORTER = f"{_MANAGERS}.scheduler_components.metrics_reporter"

KNOWN: dict[str, str] = {
    # patched
    f"{_SIZER}._resolve_memory_pool_config": "54a29aed58cdd9f8",
    f"{_SIZER}._init_pools": "7bceb6a705bb778b",
    f"{_MEM}.allocation.alloc_for_extend": "4fd64d54c0965baf",
    f"{_MEM}.allocation.alloc_for_decode": "cb21202748dfa075",
    "sglang.srt.model_executor.model_runner.ModelRunner._forward_raw": "225f44ef838fd122",
    "sglang.srt.runtime_context.mamba_track_grid": "5ca9b668830d0e9a",
    f"{_MANAGERS}.scheduler.Scheduler.get_prefill_adder_class": "09fc06324c1adc81",
    f"{_MANAGERS}.scheduler.Scheduler.get_internal_state": "b688ed88aae088b1",
    "sglang.srt.beam_search.coordinator.BeamCoordinator.validate_and_init": "72899f7d40c189c2",
    "sglang.srt.observability.req_time_stats.ReqTimeStatsBase.__getstate__": "d0fe23e03e1325c8",
    "sglang.srt.observability.req_time_stats.ReqTimeStatsBase.new_from_obj": "a329e1045dbdc011",
    f"{_REPORTER}.SchedulerMetricsReporter._maybe_log_idle_metrics": "82a9c09b4c769935",
    # patched where there is a host tier
    f"{_MANAGERS}.scheduler.Scheduler._process_hicache_events": "fb2c4399538506db",
    f"{_MANAGERS}.scheduler.Scheduler.get_new_batch_prefill": "b81e9952631db7ab",
    f"{_MANAGERS}.scheduler.Scheduler.is_fully_idle": "8344db68c32b3a91",
    f"{_MANAGERS}.schedule_batch.Req.materialized_host_hit_len": "77c72143d696b698",
    f"{_MANAGERS}.schedule_batch.ScheduleBatch.release_req": "9a948cdcef0428c8",
    f"{_MANAGERS}.scheduler.Scheduler.process_batch_result": "5530be2efae01cbf",
    # relied upon: subclassed, or their order of calls is
    f"{_SIZER}._profile_available_bytes": "6dc0936929eb0c15",
    f"{_MEM}.allocation.alloc_for_decode_default": "952fe66952e1c1b0",
    f"{_MEM}.allocator.base.BaseTokenToKVPoolAllocator": "ed922bb84de8daf9",
    f"{_MEM}.allocator.mamba.MambaSlotAllocator": "e0a3b2de737a5bcf",
    f"{_MEM}.base_prefix_cache.BasePrefixCache": "b06ff87a1b3c046c",
    f"{_MEM}.common.match_kv_cache": "b06cc5c04395e8ce",
    f"{_MEM}.common.release_kv_cache": "79aba39f92f494b0",
    f"{_MEM}.memory_pool.HybridReqToTokenPool": "5402dff6b853a57f",
    f"{_MEM}.memory_pool.HybridLinearKVPool.__init__": "8d4fb8e9b4fbd666",
    f"{_MEM}.memory_pool.HybridLinearKVPool._wait_for_layer": "a5f46d02298deee3",
    f"{_MEM}.memory_pool.MHATokenToKVPool.get_key_buffer": "8cf72e4e2df01683",
    f"{_MEM}.memory_pool.MHATokenToKVPool.get_value_buffer": "6f7012dec812cc41",
    f"{_MEM}.memory_pool.MambaPool.__init__": "5df7d8b481b12b0d",
    f"{_MEM}.memory_pool.MHATokenToKVPool.__init__": "037fd431dfcd7e76",
    f"{_MEM}.memory_pool.ReqToTokenPool": "f0115376e3e65367",
    f"{_MEM}.prefill_budget.PrefillBudget": "d1646cc8afa5f4ef",
    f"{_MANAGERS}.schedule_policy.PrefillAdder": "dd9e7e7b22075718",
    f"{_MANAGERS}.schedule_batch.split_cached_prefix_by_tier": "974633c0ae79af76",
    f"{_MANAGERS}.schedule_batch.Req.init_next_round_input": "ef4df2cd1ad27e5f",
    f"{_MANAGERS}.scheduler.Scheduler.get_next_batch_to_run": "0123bdeb7601a690",
    f"{_MANAGERS}.scheduler.Scheduler._get_new_batch_prefill_raw": "d00d732d04372d68",
    f"{_MANAGERS}.scheduler.Scheduler.stash_chunked_request": "7d5034c2e38f2db9",
    f"{_MANAGERS}.scheduler.Scheduler._release_aborted_request": "0d1e1bc1af8518c7",
    f"{_MANAGERS}.schedule_batch.release_req": "b6086688ab80ad02",
    f"{_MANAGERS}.schedule_batch.ReqKvInfo": "bf2c7c2ba733774a",
    f"{_MANAGERS}.io_struct.GetInternalStateReq": "78aa4cfd47faa1ab",
    f"{_MANAGERS}.tokenizer_control_mixin.TokenizerControlMixin.get_internal_state": (
        "18f92e22c53325fb"
    ),
    "sglang.srt.observability.metrics_collector.RadixCacheMetricsCollector": "361192e34e164b5f",
    "sglang.srt.utils.auth.decide_request_auth": "5ab183cd18ad6134",
}


@functools.cache
def fingerprint(target: str) -> str:
    """First 16 hex digits of the SHA-256 of a target's source, whitespace at line ends off.

    Read once a process: the launcher asks, and then its plugin does.  Looks through
    wrappers made with functools.wraps.  Raises what importing or reading the target
    raises.
    """
    source = inspect.getsource(inspect.unwrap(pkgutil.resolve_name(target)))
    text = "\n".join(line.rstrip() for line in source.splitlines())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences() -> list[str]:
    """One line for every target that is missing or not as known; empty when all is well."""
    out = []
    for target, known in KNOWN.items():
        try:
            found = fingerprint(target)
        except (ImportError, AttributeError, OSError, TypeError) as error:
            out.append(f"{target}: {error}")
            continue
        if found != known:
            out.append(f"{target}: source {found}, known {known}")
    return out


if __name__ == "__main__":
    for name in KNOWN:
        print(f"{fingerprint(name)}  {name}")
