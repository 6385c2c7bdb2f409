"""The report of a plan: `report.json` as data, `summary.md` as a document, the manifest."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cachepawl import __version__
from cachepawl.offline.vllm.classic import (
    classic_figures,
    coverage,
    group_advisories,
    group_proposals,
)
from cachepawl.offline.vllm.contradictions import contradictions
from cachepawl.offline.vllm.exact import exact_section
from cachepawl.offline.vllm.gates import Accounting
from cachepawl.offline.vllm.mixes import MixWords
from cachepawl.offline.vllm.records import CONTROL_POINTS, DryRun, VllmReport
from cachepawl.offline.vllm.schema import (
    SCHEMA_VERSION,
    CachePlan,
    Notes,
    PlannerNotes,
    RuntimeNotes,
)


def vllm_report(
    plan: CachePlan, notes: Notes | None, words: MixWords | None = None, tokens: int | None = None
) -> VllmReport:
    """Classic and exact figures of a plan.  InputError for a mix or a length it cannot hold."""
    figures, covered = classic_figures(plan), coverage(plan, notes)
    enough = bool(plan.groups) and figures.savings is not None
    layers = sum(group.layers for group in plan.groups)
    dry_run = DryRun(
        status="planner_dry_run_available" if enough else "insufficient_data",
        vanilla_observed_reserved_bytes=figures.reserved,
        vanilla_observed_useful_bytes=figures.useful,
        cachepawl_proposed_reserved_bytes=figures.useful,
        estimated_savings_bytes=figures.savings,
        overestimation_ratio=figures.ratio,
        wasted_fraction=figures.wasted,
        group_proposals=group_proposals(plan),
        planner_input_coverage=covered,
        missing_fields_that_prevent_mutation=list(CONTROL_POINTS),
    )
    return VllmReport(
        classification="planner_advisory_available" if enough else "insufficient_data",
        classifications=[
            "observe_only",
            "planner_advisory_available" if enough else "insufficient_data",
            "mutation_required_for_runtime_effect",
        ],
        num_blocks=plan.num_blocks,
        cache_group_count=plan.group_count if plan.group_count is not None else len(plan.groups),
        cache_tensor_count=len(plan.tensors),
        layer_count=plan.layer_count if plan.layer_count is not None else layers,
        available_kv_cache_gpu_memory_bytes=None if notes is None else notes.available_bytes,
        observed_reserved_bytes=figures.reserved,
        observed_useful_bytes=figures.useful,
        cachepawl_recommended_bytes=figures.useful,
        advisory_savings_bytes=figures.savings,
        overestimation_ratio=figures.ratio,
        wasted_fraction=figures.wasted,
        planner_input_coverage=covered,
        missing_mutation_fields=list(CONTROL_POINTS),
        group_advisories=group_advisories(plan),
        dry_run=dry_run,
        exact=exact_section(plan, figures, words, tokens),
        contradictions=contradictions(plan, notes),
    )


def as_data(report: VllmReport) -> dict[str, Any]:
    """`report.json`."""
    return asdict(report)


def manifest(
    report: VllmReport,
    plan_path: Path,
    notes_path: Path | None,
    timestamp: str | None,
    accounting: Accounting,
) -> dict[str, Any]:
    """`manifest.json`: what was read and written, by what, and what that did not need or do."""
    return {
        "artifact": report.artifact,
        "mode": report.mode,
        "status": report.classification,
        "schema_version": report.schema_version,
        "cachepawl_version": __version__,
        "timestamp": timestamp,
        "accounting": accounting,
        "source_translated_cache_config": _path_text(plan_path),
        "source_raw_safe_metadata": None if notes_path is None else _path_text(notes_path),
        "outputs": {
            "report": "report.json",
            "summary": "summary.md",
            "manifest": "manifest.json",
        },
        "advisory_only": True,
        "allocator_replacement": False,
        "cuda_required": False,
        "gpu_required": False,
        "model_loaded": False,
        "nvml_required": False,
        "returned_to_vllm": False,
        "runtime_mutation": False,
        "vllm_behavior_changed": False,
        "vllm_required": False,
    }


def _path_text(path: Path) -> str:
    """A path as UTF-8 can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def json_schemas() -> dict[str, Any]:
    """JSON schemas of the inputs and the report."""
    return {
        "schema_version": SCHEMA_VERSION,
        "translated_cache_config": CachePlan.model_json_schema(),
        "raw_safe_metadata": {
            "anyOf": [RuntimeNotes.model_json_schema(), PlannerNotes.model_json_schema()]
        },
        "report": TypeAdapter(VllmReport).json_schema(mode="serialization"),
    }
