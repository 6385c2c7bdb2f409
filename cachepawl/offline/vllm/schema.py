"""What the two input files may hold, version 1: a cache plan, and notes on where it was taken.

A plan is vLLM's `KVCacheConfig` written out as JSON: groups of layers that share blocks, and
the tensors those blocks lie in.  Notes come from a running engine or from its planner; the two
have different fields.  A field that a file lacks reads as null.  Fields that are not listed
here are refused, except inside `metadata`, which holds whatever a spec of vLLM has.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 1
MOST_BYTES = 1 << 60
MOST_COUNT = 1 << 40

Bytes = Annotated[int, Field(ge=0, le=MOST_BYTES)]
Count = Annotated[int, Field(ge=0, le=MOST_COUNT)]
Tokens = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Name = Annotated[str, Field(max_length=4096)]
Kind = Literal["attention", "mamba"]


class _Model(BaseModel):
    # Strict: true is no 1, "7" is no 7, 7.0 is no 7.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class SpecMetadata(_Model):
    """What else the spec of a group holds; only what is read here is checked."""

    model_config = ConfigDict(extra="allow")

    mamba_cache_mode: Literal["none", "align", "all"] | None = None
    """none: a sequence has one state.  align, all: states at block ends are kept as well."""
    num_speculative_blocks: Count = 0
    """Blocks of a sequence beyond its states, for speculative decoding."""


class CacheSpec(_Model):
    """What one block of one layer holds."""

    cache_kind: Kind | None = None
    spec_type: Name | None = None
    """vLLM's class, such as FullAttentionSpec."""
    block_size: Tokens | None = None
    """Tokens of a block."""
    page_size_bytes: Bytes | None = None
    """Bytes of a block of one layer, padding included."""
    useful_bytes: Bytes | None = None
    """Bytes of a block of one layer, padding left out."""
    dtype: Name | None = None
    layer_name: Name | None = None
    metadata: SpecMetadata = SpecMetadata()


class Group(_Model):
    """Layers that hold the same blocks: a block given to the group has a page in each."""

    cache_spec: CacheSpec
    group_index: Count | None = None
    group_name: Name | None = None
    layer_count: Count | None = None
    layer_names: list[Name] | None = None
    is_eagle_group: bool | None = None
    metadata: dict[str, Any] = {}

    @property
    def layers(self) -> int:
        """As counted in the file, else as named there."""
        return self.layer_count if self.layer_count is not None else len(self.layer_names or ())


class Tensor(_Model):
    """A buffer of pages, one a block; each of its layers sees it as its own."""

    size_bytes: Bytes
    shared_by: list[Name] | None = None
    metadata: dict[str, Any] = {}


class CachePlan(_Model):
    """`translated_runtime_cache_config.json` or `translated_planner_stage_config.json`."""

    groups: list[Group]
    tensors: list[Tensor]
    num_blocks: Count | None = None
    """Blocks of the pool; a block belongs to one group at a time."""
    total_useful_bytes: Bytes | None = None
    """`useful_bytes` of the groups added: one layer of each."""
    total_page_size_bytes: Bytes | None = None
    """`page_size_bytes` of the groups added: one layer of each."""
    group_count: Count | None = None
    layer_count: Count | None = None
    attention_group_count: Count | None = None
    mamba_group_count: Count | None = None
    block_size: Tokens | None = None
    dtype: Name | None = None
    metadata: dict[str, Any] = {}
    schema_version: Literal[1] = SCHEMA_VERSION
    """Files without it are of version 1."""

    @property
    def kinds(self) -> list[Kind | None]:
        return [group.cache_spec.cache_kind for group in self.groups]


class RuntimeNotes(_Model):
    """`raw_safe_metadata.json` beside a plan taken from a running engine."""

    available_gpu_memory_for_kv_cache: Bytes | None = None
    num_blocks: Count | None = None
    cache_config_num_gpu_blocks: Count | None = None
    cache_config_block_size: Tokens | None = None
    kv_cache_group_count: Count | None = None
    kv_cache_tensor_count: Count | None = None
    kv_cache_config_type: Name | None = None
    engine_core_client_type: Name | None = None
    engine_core_type: Name | None = None
    scheduler_type: Name | None = None

    @property
    def available_bytes(self) -> int | None:
        return self.available_gpu_memory_for_kv_cache


class PlannerNotes(_Model):
    """`raw_safe_metadata.json` beside a plan that vLLM's planner returned when asked again."""

    available_memory: list[Bytes] | None = None
    """Of each worker."""
    planner_output_num_blocks: list[Count] | None = None
    planner_output_config_count: Count | None = None
    planner_matches_runtime_scheduler: bool | None = None
    runtime_num_blocks: Count | None = None
    runtime_num_blocks_after_replay: Count | None = None
    runtime_changed_during_replay: bool | None = None
    kv_cache_specs_layer_counts: list[Count] | None = None
    kv_cache_specs_worker_count: Count | None = None
    kv_cache_spec_type_counts: dict[str, Count] | None = None
    deepcopy_failed: bool | None = None
    inputs_reached: bool | None = None
    get_kv_cache_configs_called: bool | None = None
    get_kv_cache_configs_signature: Name | None = None
    function_path: Name | None = None
    input_paths: dict[str, Name] | None = None
    observation_mode: Name | None = None
    sample_layer_names: list[Name] | None = None
    vllm_config_type: Name | None = None

    @property
    def available_bytes(self) -> int | None:
        """Of the worker that has least: vLLM gives every worker the blocks that it can hold."""
        return min(self.available_memory) if self.available_memory else None


Notes = RuntimeNotes | PlannerNotes
