"""The report's fields.  Bytes are whole; null is a figure that the input does not give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cachepawl.offline.vllm.schema import SCHEMA_VERSION, Kind

Classification = Literal[
    "observe_only",
    "planner_advisory_available",
    "insufficient_data",
    "mutation_required_for_runtime_effect",
]
CONTROL_POINTS = (
    "stable scheduler or planner construction hook",
    "allocator or KVCacheManager replacement control point",
    "worker tensor allocation layout control point",
    "runtime request-to-block assignment control",
    "Mamba state-index and attention view rewrite contract",
)
"""What vLLM would have to offer before another planner could take effect; a plan is no such."""


@dataclass(frozen=True)
class Described:
    """A group as its plan has it; a page's bytes are those of one layer and block."""

    group_index: int
    cache_kind: Kind | None
    layer_count: int
    block_size: int | None
    page_size_bytes: int | None
    useful_bytes: int | None


@dataclass(frozen=True)
class GroupAdvisory(Described):
    """A group as if it had the whole pool to itself."""

    estimated_bytes: int | None
    overestimation_ratio: float | None
    wasted_fraction: float | None
    missing_fields: list[str]


@dataclass(frozen=True)
class GroupProposal(Described):
    """A group's bytes over the whole pool, with and without padding."""

    vanilla_estimated_bytes: int | None
    cachepawl_proposed_bytes: int | None
    proposed_savings_bytes: int | None


@dataclass(frozen=True)
class Coverage:
    """Which inputs the files gave."""

    available_kv_cache_gpu_memory: bool
    cache_group_count: bool
    cache_tensor_count: bool
    layer_count: bool
    num_blocks: bool
    per_group_block_size: bool
    per_group_cache_kind: bool
    per_group_page_size_bytes: bool
    per_group_useful_bytes: bool


@dataclass(frozen=True)
class DryRun:
    """The classic figures under the names of a planner's dry run."""

    status: Literal["planner_dry_run_available", "insufficient_data"]
    vanilla_observed_reserved_bytes: int | None
    vanilla_observed_useful_bytes: int | None
    cachepawl_proposed_reserved_bytes: int | None
    estimated_savings_bytes: int | None
    overestimation_ratio: float | None
    wasted_fraction: float | None
    group_proposals: list[GroupProposal]
    planner_input_coverage: Coverage
    missing_fields_that_prevent_mutation: list[str]
    safe_for_advisory_only: bool = True
    returned_to_vllm: bool = False
    vllm_behavior_changed: bool = False


@dataclass(frozen=True)
class MixWaste:
    """What blocks in use waste, by how many of them each group has."""

    blocks: list[int]
    """Of each group, in the plan's order."""
    block_count: int
    fits: bool
    """Whether the pool has that many blocks."""
    reserved_bytes: int
    useful_bytes: int
    wasted_bytes: int
    wasted_fraction: float
    overestimation_ratio: float | None
    """Null where nothing in the blocks is useful."""


@dataclass(frozen=True)
class SequenceWaste:
    """One sequence's blocks."""

    tokens: int
    mix: MixWaste
    unfilled_bytes: int
    """Of the last attention blocks, beyond the last token; counted as useful in `mix`."""


@dataclass(frozen=True)
class Exact:
    """Waste by the blocks in use."""

    unavailable: str | None
    """Why there are no figures; null where there are."""
    block_bytes: int | None
    """Of a block over all tensors, whichever group has it."""
    useful_bytes_per_block: list[int] | None
    """Of each group."""
    worst: MixWaste | None
    best: MixWaste | None
    one_block_per_group: MixWaste | None
    full_sequence: SequenceWaste | None
    full_sequence_unavailable: str | None
    given: MixWaste | None
    """The mix of `--mix`; null without it."""
    why_it_differs: str


@dataclass(frozen=True)
class VllmReport:
    """`report.json`."""

    classification: Literal["planner_advisory_available", "insufficient_data"]
    classifications: list[Classification]
    num_blocks: int | None
    cache_group_count: int
    cache_tensor_count: int
    layer_count: int
    available_kv_cache_gpu_memory_bytes: int | None
    observed_reserved_bytes: int | None
    observed_useful_bytes: int | None
    cachepawl_recommended_bytes: int | None
    advisory_savings_bytes: int | None
    overestimation_ratio: float | None
    wasted_fraction: float | None
    planner_input_coverage: Coverage
    missing_mutation_fields: list[str]
    group_advisories: list[GroupAdvisory]
    dry_run: DryRun
    exact: Exact
    contradictions: list[str]
    """Where the files disagree with themselves or each other."""
    artifact: Literal["vllm-runtime-cache-diagnostic-cli"] = "vllm-runtime-cache-diagnostic-cli"
    mode: Literal["artifact_input"] = "artifact_input"
    schema_version: Literal[1] = SCHEMA_VERSION
    advisory_only: bool = True
    allocator_replacement: bool = False
    runtime_mutation: bool = False
    runtime_savings_require_future_mutation_hook: bool = True
    vllm_behavior_changed: bool = False
