"""Every number of a plan equals what SGLang's own functions make of the same flags and bytes.

All cases run through one program in a process of its own (`real_sizing.py`).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import imported
import pytest

from cachepawl.offline.sglang.flags import parse_flags
from cachepawl.offline.sglang.memory import DoesNotFit, host_plan, static_plan, unified_plan
from cachepawl.offline.sglang.memory.budget import rest_budget
from cachepawl.specs import spec_of
from cachepawl.specs.presets import PRESETS
from cachepawl_launch.cpu.flags import platform_args
from cachepawl_launch.cpu.tiny_config import config_of

pytestmark = pytest.mark.xdist_group("sglang-sizing")
PROGRAM = Path(__file__).with_name("real_sizing.py")
FP32 = {"SGLANG_MAMBA_CONV_DTYPE": "float32", "SGLANG_MAMBA_SSM_DTYPE": "float32"}
PLAIN = {"SGLANG_MAMBA_CONV_DTYPE": "bfloat16", "SGLANG_MAMBA_SSM_DTYPE": "float32"}
TRACKED, UNTRACKED, STATELESS = ("nemotron_h", "qwen3_5", "falcon_h1"), ("lfm2",), ("qwen3",)
FOR_ALL = [
    "",
    "--mamba-full-memory-ratio 0.3",
    "--max-running-requests 5",
    "--max-total-tokens 3001",
    "--max-mamba-cache-size 37",
    "--disable-radix-cache",
    "--disable-radix-cache --max-running-requests 6",
    "--context-length 64",
    "--kv-cache-dtype bfloat16 --mamba-ssm-dtype bfloat16",
    "--disable-overlap-schedule",
    "--tp-size 2",
    "--speculative-algorithm NGRAM --speculative-num-draft-tokens 4",
    "--speculative-algorithm NGRAM --speculative-num-draft-tokens 4 --max-running-requests 3"
    " --max-mamba-cache-size 50",
]
FOR_PAGED = [
    "--page-size 16",
    "--page-size 16 --max-total-tokens 3001 --disable-overlap-schedule",
    "--page-size 64 --mamba-full-memory-ratio 2.5",
]
FOR_TRACKED = [
    "--tp-size 2 --attn-dp-size 2 --max-running-requests 9",
    "--tp-size 4 --dp-size 2 --enable-dp-attention --max-mamba-cache-size 100",
    "--mamba-radix-cache-strategy extra_buffer_lazy",
]
BUILT = {
    "nemotron_h": "--page-size 16 --hicache-ratio 1.7",
    "qwen3_5": "--page-size 64 --max-total-tokens 2000",
    "lfm2": "--hicache-size 1",
    "qwen3": "--page-size 16",
}
"""Cases whose pools are built, so their flags keep them small."""
ARCHITECTURES = {
    "qwen3_next": "Qwen3NextForCausalLM",
    "qwen3_5_text": "Qwen3_5ForCausalLM",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
    "nemotron_h": "NemotronHForCausalLM",
    "falcon_h1": "FalconH1ForCausalLM",
    "granitemoehybrid": "GraniteMoeHybridForCausalLM",
    "kimi_linear": "KimiLinearForCausalLM",
    "lfm2": "Lfm2ForCausalLM",
    "lfm2_moe": "Lfm2MoeForCausalLM",
}
"""Of the presets that SGLang serves."""


class Case(NamedTuple):
    """A model, flags, and amounts of memory."""

    name: str
    config: Mapping[str, Any]
    flags: str
    rests: tuple[int, ...]
    environment: Mapping[str, str] = FP32
    layout: str = "static"

    @property
    def given(self) -> list[str]:
        """The command line's words, those of the CPU platform among them."""
        words = self.flags.split()
        return [*words, *platform_args({w for w in words if w.startswith("--")})]


def cases() -> Iterator[Case]:
    draw = random.Random(5)
    for family in (*TRACKED, *UNTRACKED, *STATELESS):
        for flags in (
            FOR_ALL + FOR_PAGED * (family not in UNTRACKED) + FOR_TRACKED * (family in TRACKED)
        ):
            rests = (draw.randrange(10**5, 10**6), draw.randrange(10**6, 10**8))
            yield Case(family, config_of(family), flags, rests)
    for name, preset in PRESETS.items():
        if (kind := str(preset.config.get("model_type"))) in ARCHITECTURES:
            config = {"architectures": [ARCHITECTURES[kind]], "vocab_size": 1000, **preset.config}
            rest = draw.randrange(5 * 10**9, 10**11)
            tp = draw.choice([1, 2, 4])
            flags = f"--dtype bfloat16 --context-length 2048 --tp-size {tp}"
            yield Case(name, config, flags, (rest,), PLAIN)
    for family in TRACKED:
        for flags in ("", "--page-size 16", "--max-total-tokens 3001 --page-size 16"):
            rests = (draw.randrange(3 * 10**6, 10**7),)
            yield Case(family, config_of(family), flags, rests, layout="unified")
    for family, flags in BUILT.items():
        flags += " --max-running-requests 9 --context-length 512"
        yield Case(
            family, config_of(family), flags, (draw.randrange(10**6, 10**7),), layout="built"
        )


CASES = list(cases())


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """SGLang's answers, by the case's place in CASES."""
    folder = tmp_path_factory.mktemp("configs")
    asked = []
    for i, case in enumerate(CASES):
        where = folder / str(i)
        where.mkdir()
        (where / "config.json").write_text(json.dumps(dict(case.config)))
        asked.append(
            {
                "words": ["--model-path", str(where), *case.given],
                "rests": case.rests,
                "layout": case.layout,
                "environment": dict(case.environment),
            }
        )
    questions = folder / "asked.json"
    questions.write_text(json.dumps(asked))
    done = imported.run([str(PROGRAM), str(questions)], os.environ, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [part for part in done.stdout.splitlines() if part.startswith("ANSWERS ")]
    return dict(enumerate(json.loads(line.removeprefix("ANSWERS "))))


def of_layout(layout: str) -> list[Any]:
    return [
        pytest.param(i, id=f"{c.name} {c.flags}".strip())
        for i, c in enumerate(CASES)
        if c.layout == layout
    ]


def parsed(case: Case, *more: str) -> Any:
    given = [f"{k}={v}" for k, v in case.environment.items()]
    flags = parse_flags([*given, *case.given, *more])
    context = case.config.get("max_position_embeddings")
    if flags.context_length is None:
        flags = parse_flags([*given, *case.given, *more, "--context-length", str(context)])
    return flags


@pytest.mark.parametrize("index", of_layout("static"))
def test_the_static_split(answers: dict[int, list[dict[str, Any]]], index: int) -> None:
    case = CASES[index]
    spec, flags = spec_of(case.config), parsed(case)
    for rest, real in zip(case.rests, answers[index], strict=True):
        if "stops" in real:
            with pytest.raises(DoesNotFit):
                static_plan(spec, flags, rest_budget(rest))
            continue
        plan = static_plan(spec, flags, rest_budget(rest))
        assert plan.kv_tokens == real["kv_tokens"]
        assert plan.kv_token_bytes == real["cell"]
        assert plan.max_running_requests == real["requests"]
        if spec.states:
            assert plan.state_slots == real["slots"]
            assert plan.states.slot_bytes == real["state_bytes"]
            assert plan.settled.slots_per_request == real["divisor"]
            assert plan.settled.strategy.startswith("extra_buffer") == real["extra_buffer"]


def test_some_cases_run_and_some_do_not(answers: dict[int, list[dict[str, Any]]]) -> None:
    """Neither side of the comparison above is empty."""
    stops = ["stops" in real for answer in answers.values() for real in answer]
    assert 4 < sum(stops) < len(stops) / 4


@pytest.mark.parametrize("index", of_layout("unified"))
def test_unified_memory(answers: dict[int, list[dict[str, Any]]], index: int) -> None:
    case = CASES[index]
    spec, flags = spec_of(case.config), parsed(case, "--enable-hicache")
    for rest, real in zip(case.rests, answers[index], strict=True):
        plan = unified_plan(spec, flags, rest_budget(rest))
        assert plan.total_bytes == real["total_bytes"]
        assert plan.most_tokens == real["most_tokens"]
        assert plan.most_states == real["most_states"]
        assert plan.slots == real["slots"]
        assert plan.max_running_requests == real["requests"]
        host = host_plan(plan, flags)
        assert host is not None
        page = plan.settled.page_tokens
        assert host.kv_tokens == (2 * real["host_tokens"] // page + 1) * page
        assert host.state_slots == 2 * real["host_state_slots"] + 1


@pytest.mark.parametrize("index", of_layout("built"))
def test_bytes_are_those_of_the_pools(answers: dict[int, list[dict[str, Any]]], index: int) -> None:
    case, (real,) = CASES[index], answers[index]
    spec, flags = spec_of(case.config), parsed(case, "--enable-hicache")
    plan = static_plan(spec, flags, rest_budget(case.rests[0]))
    assert plan.kv_tokens == real["kv_tokens"]
    assert plan.kv_bytes + plan.padding_page_bytes == real["kv_bytes"]
    assert plan.request_table_bytes == real["request_rows_bytes"]
    host = host_plan(plan, flags)
    assert host is not None
    assert host.kv_tokens == real["host_tokens"]
    if spec.states:
        assert plan.state_slots == real["slots"]
        assert plan.states.bytes == real["state_bytes"]
        assert host.state_slots == real["host_slots"]
