"""Inputs put together: precedence, conflicts, what was given and what SGLang settled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cachepawl.errors import InputError
from cachepawl.offline.plan.places import Place
from cachepawl.offline.sglang.inputs.facts import Fact, Missing, Reading, gathered
from cachepawl.offline.sglang.inputs.gather import Inputs, gather
from cachepawl.offline.sglang.inputs.planned import Memory
from cachepawl.offline.sglang.memory import static_plan
from cachepawl.offline.sglang.memory.budget import rest_budget

LEFT = Memory(Place("1 MiB", None, 1 << 20))


def test_the_first_wins_and_conflicts_are_named() -> None:
    one = Reading("a", {"kv_tokens": Fact(1, "a:1"), "running": Fact(2, "a:2")})
    other = Reading("b", {"kv_tokens": Fact(3, "b:1"), "running": Fact(2, "b:2")})
    facts = gathered([one, other])
    assert facts.need("kv_tokens") == 1
    assert facts.conflicts == (("kv_tokens", 1, "a:1", 3, "b:1"),)
    with pytest.raises(Missing, match="KV free"):
        facts.need("kv_free")


def test_server_info_before_log_before_options(files: Any) -> None:
    known = gather(Inputs(server_info=files.server_info, log=files.log))
    assert known.facts.need("chunk_tokens") == 512
    conflicts = {c.name: (c.kept, c.other) for c in known.facts.conflicts}
    assert conflicts == {"chunk_tokens": (512, 256)}
    assert known.facts.need("context_limit") == 2048


def test_reports_that_differ(files: Any) -> None:
    info = json.loads(files.server_info.read_text()) | {"page_size": 32}
    files.server_info.write_text(json.dumps(info))
    known = gather(Inputs(server_info=files.server_info, log=files.log))
    names = [c.name for c in known.facts.conflicts]
    assert "page_tokens" in names
    assert "--page-size" in names


def test_what_was_given_and_what_changed(files: Any) -> None:
    """The launch command tells both; here overlap scheduling was not turned off after all."""
    known = gather(Inputs(server_info=files.server_info))
    assert known.flags is not None
    assert "page_size" in known.flags.given
    assert "mamba_full_memory_ratio" not in known.flags.given
    assert [(c.name, c.kept, c.other) for c in known.settled] == [
        ("--disable-overlap-schedule", False, True)
    ]


def test_without_a_command_settled_values_were_not_given(files: Any) -> None:
    flags = gather(Inputs(log=files.log)).flags
    assert flags is not None
    assert flags.given == {"page_size", "chunked_prefill_size", "mamba_radix_cache_strategy"}


def test_options_win(files: Any) -> None:
    known = gather(Inputs(metrics=files.metrics, workload={"typical_prompt": 7, "context": None}))
    assert known.facts.need("typical_prompt") == 7
    assert known.flags is None


def test_metrics_alone_leave_flags_unknown(files: Any) -> None:
    assert gather(Inputs(metrics=files.metrics, model=str(files.model))).flags is None
    known = gather(Inputs(model=str(files.model)))
    assert known.flags is not None
    assert "SGLang's defaults" in known.notes[0]
    assert gather(Inputs(flags="")).flags == known.flags


def test_pools_are_planned_where_no_server_told_them(files: Any) -> None:
    inputs = Inputs(model=str(files.model), flags="--page-size 16 --context-length 2048",
                    memory=LEFT)  # fmt: skip
    known = gather(inputs)
    assert known.model is not None
    assert known.flags is not None
    plan = static_plan(known.model.spec, known.flags, rest_budget(1 << 20))
    assert known.facts.need("kv_tokens") == plan.kv_tokens
    assert known.facts.need("state_slots") == plan.state_slots
    assert known.facts.need("running_limit") == plan.max_running_requests
    assert known.facts.need("entry_bytes") == plan.kv_token_bytes


def test_pools_from_free_memory_in_a_log(files: Any) -> None:
    """40.5 - 79 x (1 - 0.5) = 1 GB."""
    lines = files.log.read_text().splitlines()[:3]
    lines[0] = lines[0].replace("'page_size': 16", "'page_size': 16, 'mem_fraction_static': 0.5")
    files.log.write_text("\n".join(lines))
    known = gather(Inputs(model=str(files.model), log=files.log))
    assert "1.00 GiB a rank (free memory in the log)" in known.facts.values["kv_tokens"].source


def test_memory_that_holds_nothing(files: Any) -> None:
    known = gather(Inputs(model=str(files.model), flags="--page-size 16",
                          memory=Memory(Place("10 bytes", None, 10))))  # fmt: skip
    assert known.refused is not None
    assert "state slot" in known.refused


def test_ranks_that_cannot_share_the_model(files: Any) -> None:
    known = gather(Inputs(model=str(files.model), flags="--tp-size 3"))
    assert known.refused is not None
    assert "3 tensor-parallel ranks" in known.refused


def test_what_is_not_planned_is_a_note(files: Any) -> None:
    known = gather(Inputs(model=str(files.model), flags="--page-size 16 --enable-hisparse",
                          memory=LEFT))  # fmt: skip
    assert any("--enable-hisparse is not planned" in note for note in known.notes)
    assert known.facts.get("entry_bytes") is not None


def test_another_version_is_noted(files: Any) -> None:
    info = json.loads(files.server_info.read_text()) | {"version": "0.5.9"}
    files.server_info.write_text(json.dumps(info))
    assert "SGLang 0.5.9" in gather(Inputs(server_info=files.server_info)).notes[0]


@pytest.mark.parametrize(
    ("flags", "ours"),
    [("python -m cachepawl.launch_server --page-size 16", True),
     ("--cachepawl-device-gb 4", True), ("--radix-cache-backend cachepawl", True),
     ("python -m sglang.launch_server --page-size 16", False)],
)  # fmt: skip
def test_whose_server(flags: str, ours: bool) -> None:
    assert gather(Inputs(flags=flags)).cachepawl is ours


OPTIONS = ("metrics", "log", "server_info", "launch", "model")


@pytest.mark.parametrize("given", OPTIONS)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_for_another_option_is_named(files: Any, option: str, given: str) -> None:
    """A metrics text given as a log, and so on."""
    path = getattr(files, given)
    inputs = Inputs(**{option: str(path) if option == "model" else path})
    if option == given:
        gather(inputs)
        return
    with pytest.raises(InputError) as error:
        gather(inputs)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith(f"it looks like a file for --{given.replace('_', '-')}")


def test_nothing_given() -> None:
    with pytest.raises(InputError, match="nothing to diagnose"):
        gather(Inputs())
    with pytest.raises(InputError, match="exclude each other"):
        gather(Inputs(flags="--page-size 1", launch=Path("x")))
    with pytest.raises(InputError, match="no flag"):
        gather(Inputs(flags="hello"))
