"""The policy benchmark: SGLang's side by hand and by brute force, sums, bounds, the command."""

from __future__ import annotations

import ast
import gzip
import json
import subprocess
import sys
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import GRID, REQUESTS, request, scenario, write_trace

from benchmarks import bench_policy_cost
from benchmarks.policy.ample import AMPLE_GB, EVERYTHING, everything
from benchmarks.policy.contenders import RATIOS, Played, contenders, play
from benchmarks.policy.inputs import MODELS, PAGE, Cell, Requests, Task, half_of, spec_of
from benchmarks.policy.pools import Memory, Shared, Split, split_at
from benchmarks.policy.report import document, plot
from benchmarks.policy.run import main, parse_arguments, tasks_of
from benchmarks.policy.sglang_server import SglangServer, Snapshots, context, ids_of
from benchmarks.policy.store import ROOT, SOURCES, Store, key_of
from benchmarks.policy.targets import Row, failed, targets
from cachepawl.errors import ArgumentError, CachepawlError, InputError
from cachepawl.offline.document import Table
from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.budget import rest_budget
from cachepawl.offline.sglang.memory.static import static_plan
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy import POLICIES

SMALL = 4
"""Tokens of a page."""
CHUNK = 32
PAGE_BYTES, STATE_BYTES = 4, 40
BLOCKS = st.lists(st.integers(0, 2), min_size=1, max_size=12)
"""Each of GRID tokens that are alike, as in the traces."""


@pytest.fixture(autouse=True)
def _context() -> Iterator[None]:
    with context(SMALL, GRID):
        yield


def ample() -> Memory:
    return Split(PAGE_BYTES, STATE_BYTES, 1 << 20, 1 << 20)


def server(memory: Memory, snapshots: Snapshots = "sglang", **more: Any) -> SglangServer:
    usual = {"chunk": CHUNK, "longest": 1000}
    return SglangServer(memory, SMALL, GRID, snapshots=snapshots, **{**usual, **more})


def hits(one: SglangServer, *prompts: list[int], answer: int = 0) -> list[int]:
    return [one.serve(array("q", prompt), len(prompt), answer).usable for prompt in prompts]


def words(seed: int, count: int) -> list[int]:
    return [1000 * seed + i for i in range(count)]


# -- SGLang by hand ------------------------------------------------------------------------


def test_a_repeated_prompt_starts_at_its_last_state() -> None:
    assert hits(server(ample()), words(1, 30), words(1, 30), words(1, 60)) == [0, 24, 24]


def test_a_prompt_that_ends_on_the_grid_has_its_only_state_where_it_cannot_use_it() -> None:
    aligned = words(1, 24)
    assert hits(server(ample()), aligned, aligned, aligned + words(2, 5)) == [0, 0, 24]
    # ... unless its last chunk ends early.
    assert hits(server(ample(), "ours"), aligned, aligned) == [0, 16]


def test_the_second_of_a_fork_leaves_the_state_that_the_third_uses() -> None:
    forks = [words(1, 18) + words(2 + i, 12) for i in range(4)]
    assert hits(server(ample()), *forks) == [0, 0, 16, 16]
    # One state a forward: the second's is at the branch, so its own end has none ...
    assert hits(server(ample()), forks[0], forks[1], forks[1]) == [0, 0, 16]
    # ... and two chunks leave two.
    assert hits(server(ample(), "ours"), forks[0], forks[1], forks[1]) == [0, 0, 24]


def test_every_chunk_leaves_a_state() -> None:
    one = server(ample())
    assert hits(one, words(1, 100)) == [0]
    assert one.sizes() == (96, 3), "the last chunk is shorter than a step"


def test_a_split_evicts_states_though_tokens_are_free() -> None:
    # 7 slots: 5 for a request at its fullest, so no more than 4 stay beside the next one.
    one = server(Split(PAGE_BYTES, STATE_BYTES, 1 << 20, 7))
    assert hits(one, *(words(i, 30) for i in range(6))) == [0] * 6
    assert one.memory.states <= 4
    assert hits(one, words(5, 30), words(0, 30)) == [24, 0]


def test_shared_bytes_serve_whichever_kind_is_short() -> None:
    budget = 20 * STATE_BYTES
    split = server(split_at(4.0, PAGE_BYTES, STATE_BYTES, budget))
    shared = server(Shared(PAGE_BYTES, STATE_BYTES, budget))
    long = words(1, 200)
    assert split.serve(array("q", long), 200, 0).fits is False
    assert shared.serve(array("q", long), 200, 0).fits
    assert hits(shared, long) == [192]


def test_a_state_that_finds_no_bytes_evicts_kv_before_states() -> None:
    # Room for the states of 5 and 70 pages: what is cached is two long prompts.
    one = server(Shared(PAGE_BYTES, STATE_BYTES, 7 * STATE_BYTES + 40 * PAGE_BYTES))
    assert hits(one, words(1, 30), words(2, 30), words(3, 30), words(4, 30)) == [0] * 4
    assert one.rescues == 0
    assert hits(one, words(4, 30)) == [24]


def test_what_the_empty_memory_cannot_hold_is_refused_and_costs_nothing() -> None:
    one = server(Split(PAGE_BYTES, STATE_BYTES, 10, 7))
    assert hits(one, words(1, 24)) == [0]
    before = one.sizes()
    done = one.serve(array("q", words(2, 60)), 60, 0)
    assert not done.fits
    assert one.sizes() == before


# -- SGLang by brute force -----------------------------------------------------------------


def brute_force(requests: list[TraceRequest]) -> list[int]:
    """Hits with endless memory: SGLang's rules over plain sets of prefixes."""
    kv: set[tuple[int, ...]] = set()
    states: set[tuple[int, ...]] = set()
    found = []
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        most = (len(text) - 1) // SMALL * SMALL
        usable = max((n for n in range(most + 1) if text[:n] in states), default=0)
        cached = max((n for n in range(most + 1) if text[:n] in kv), default=0)
        branch = cached // GRID * GRID
        for start, stop in pairwise([*range(usable, len(text), CHUNK), len(text)]):
            if stop - start < GRID:
                continue
            depth = start + (stop - start) // GRID * GRID
            # Of a depth that its forward passes, SGLang asks for the token after it.
            if usable < branch and start < branch < (stop if depth == stop else depth + 1):
                depth = branch
            states.add(text[:depth])
            kv |= {text[:n] for n in range(SMALL, depth + 1, SMALL)}
        found.append(usable)
    return found


@settings(max_examples=15)
@given(REQUESTS)
def test_sglang_hits_what_its_rules_say(requests: list[TraceRequest]) -> None:
    one = server(ample())
    prompts = [list(array("q", r.key.tokens)) for r in requests]
    assert hits(one, *prompts) == brute_force(requests)


@settings(max_examples=15)
@given(REQUESTS)
def test_with_our_snapshots_and_endless_memory_both_hit_alike(requests: list[TraceRequest]) -> None:
    one = server(ample(), "ours")
    theirs = sum(hits(one, *(list(array("q", r.key.tokens)) for r in requests)))
    assert theirs == replay(scenario(chunk=CHUNK), requests).total.hit


@settings(max_examples=15)
@given(REQUESTS)
@pytest.mark.parametrize("shared", [pytest.param(False, marks=pytest.mark.stress), True])
def test_in_a_small_memory_nothing_is_lost(shared: bool, requests: list[TraceRequest]) -> None:
    memory: Memory = (
        Shared(PAGE_BYTES, STATE_BYTES, 8 * STATE_BYTES + 30 * PAGE_BYTES)
        if shared
        else Split(PAGE_BYTES, STATE_BYTES, 90, 7)
    )
    one = server(memory)
    for r in requests:
        prompt = array("q", r.key.tokens)
        done = one.serve(prompt, len(prompt), max(r.output - 1, 0))
        assert 0 <= done.usable < len(prompt)
        tokens, states = one.sizes()
        assert (memory.pages * SMALL, memory.states) == (tokens, states)
        assert one.cache.full_protected_size() == one.cache.mamba_protected_size() == 0
        one.cache.tree_core.sanity_check([], [])


@settings(max_examples=15)
@given(st.lists(st.tuples(BLOCKS, st.integers(0, 7), st.integers(0, 40)), max_size=14))
@pytest.mark.parametrize("snapshots", ["sglang", pytest.param("ours", marks=pytest.mark.stress)])
def test_one_id_a_page_changes_nothing(
    snapshots: Snapshots, drawn: list[tuple[list[int], int, int]]
) -> None:
    seen = []
    for per_id in (1, SMALL):
        with context(SMALL, GRID, per_id):
            memory = Shared(PAGE_BYTES, STATE_BYTES, 8 * STATE_BYTES + 40 * PAGE_BYTES)
            one = server(memory, snapshots, per_id=per_id)
            steps: list[object] = []
            for blocks, less, answer in drawn:
                tokens = array("q", [b for b in blocks for _ in range(GRID)])
                tokens = tokens[: len(tokens) - less]
                ids = ids_of(tokens.tobytes(), per_id)
                steps += [one.serve(ids, len(tokens), answer), one.sizes(), memory.pages]
            seen.append(steps)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_split_is_the_one_that_sglang_plans(model: str, ratio: float) -> None:
    spec, budget = spec_of(model), 20 << 30
    flags = ServerFlags(page_size=PAGE, mamba_full_memory_ratio=ratio, context_length=1 << 18)
    plan = static_plan(spec, flags, rest_budget(budget))
    page = PAGE * spec.kv_bytes_per_token()
    split = split_at(ratio, page, spec.state_bytes(), budget)
    assert (split.most_pages * PAGE, split.most_states) == (plan.kv_tokens, plan.state_slots)


def test_a_budget_without_room_for_both_kinds_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="no room for both kinds"):
        split_at(0.5, PAGE_BYTES, STATE_BYTES, 3 * STATE_BYTES)


# -- cells ---------------------------------------------------------------------------------

MODEL = "nemotron-3-nano"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Traces of the same shape as the real ones, where the command looks for them."""
    plain = write_trace(tmp_path / "plain.jsonl", requests=60)
    for name in ("conversation", "synthetic"):
        path = tmp_path / f"mooncake/{name}_trace.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return tmp_path


def task(folder: Path, contender: str, gb: float = 0.6, host: float = 0.0) -> Task:
    path = folder / "mooncake/conversation_trace.jsonl.gz"
    return Task(Cell("conversation", MODEL, gb, host, contender), Requests(path))


def test_the_bound_is_above_everybody_and_sums_agree(folder: Path) -> None:
    for gb in (0.4, 0.8):
        played = {name: play(task(folder, name, gb)) for name in contenders()}
        top = played["bound"].hit
        for name, one in played.items():
            assert (one.requests, one.prompt) == (60, played["bound"].prompt), name
            assert 0 <= one.hit <= (top if name != "ceiling" else one.prompt), name
        assert played["lru"].hit <= played["clairvoyant"].hit <= played["ceiling"].hit
        assert played["lru"].flops_saved == pytest.approx(
            saved_share(folder, played["lru"].hit), abs=0.05
        )


def saved_share(folder: Path, hit: int) -> float:
    """Tokens hit as a share of tokens: FLOPs of short prompts are nearly linear."""
    prompts = [len(r.key.tokens) // 8 for r in task(folder, "lru").requests.play()]
    return hit / sum(prompts)


def test_a_host_tier_only_adds(folder: Path) -> None:
    gb = 0.4
    top = play(task(folder, "bound", gb, host=4 * gb)).hit
    assert top >= play(task(folder, "bound", gb)).hit
    for policy in POLICIES:
        alone, beside = (play(task(folder, policy, gb, host)).hit for host in (0.0, 4 * gb))
        assert alone < beside <= top, policy


def test_who_has_no_host_tier_is_refused_with_one(folder: Path) -> None:
    for name, entry in contenders().items():
        if not entry.tiers:
            with pytest.raises(CachepawlError, match=f"{name} has no host tier".replace("+", ".")):
                play(task(folder, name, host=1.0))


def test_pages_that_blocks_are_not_made_of_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.policy.inputs.PAGE", 48)
    for name in ("lru", "bound", "ceiling", "sglang-unified"):
        with pytest.raises(InputError, match="--page 48: the trace's blocks of 512 tokens"):
            play(task(folder, name))


def test_conversations_are_split_whole_and_the_same_way_every_time(folder: Path) -> None:
    path = folder / "mooncake/conversation_trace.jsonl.gz"
    halves = {half: list(Requests(path, half).play()) for half in ("tuning", "held-out", "all")}
    keys = {half: [r.key for r in some] for half, some in halves.items()}
    assert sorted(keys["tuning"] + keys["held-out"]) == sorted(keys["all"])
    assert keys["tuning"]
    assert keys["held-out"]
    second = {half: {k.tokens[512 * 8 : 512 * 8 + 8] for k in keys[half]} for half in keys}
    assert not second["tuning"] & second["held-out"]
    named = request([1, 2, 3])._replace(conversation="a")
    assert {half_of(named._replace(key=request([i]).key), 64) for i in range(20)} == {
        half_of(named, 64)
    }


def test_a_result_is_found_again_only_for_the_same_inputs(folder: Path) -> None:
    one = task(folder, "lru")
    store, key = Store(folder / "cells"), key_of(one, "ours")
    assert store.get(key) is None
    played = Played(1, 2, 3, 0, 0.5, 0.1, {"note": 1})
    store.put(key, played)
    assert store.get(key) == played
    others = [
        one._replace(requests=one.requests._replace(limit=5)),
        one._replace(requests=one.requests._replace(half="tuning")),
        one._replace(cell=one.cell._replace(device_gb=0.7)),
        one._replace(cell=one.cell._replace(contender="clairvoyant")),
    ]
    keys = [key_of(other, "ours") for other in others] + [key_of(one, "sglang")]
    assert len({key, *keys}) == 6
    assert len({key_of(task(folder, "ceiling", gb), "bound") for gb in (0.4, 0.6)}) == 1
    (folder / "cells" / f"{key}.json").write_text("{")
    assert store.get(key) is None


LOADED = """
import sys
from pathlib import Path
from benchmarks.policy.contenders import contenders, play
from benchmarks.policy.inputs import Cell, Requests, Task
for name, entry in contenders(()).items():
    for host in (0.0, 1.0) if entry.family == "ours" else ():
        if not host or entry.tiers:
            cell = Cell("conversation", "nemotron-3-nano", 0.4, host, name)
            play(Task(cell, Requests(Path(sys.argv[1]), limit=9)))
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file and module.__name__.partition(".")[0].startswith(("cachepawl", "benchmarks")):
        print(file)
"""


def test_a_cell_of_ours_depends_on_all_that_is_loaded_to_play_it(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(folder / "plain.jsonl")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {Path(line).relative_to(ROOT) for line in done.stdout.split()}
    assert len(loaded) > 60
    covered = {Path(source) for source in SOURCES["ours"]}
    assert all((ROOT / source).exists() for source in covered)
    rest = {file for file in loaded if not covered & {file, *file.parents}}
    assert {file.as_posix() for file in rest if file.name != "__init__.py"} == set()
    for file in rest:
        nodes = ast.parse((ROOT / file).read_text()).body
        assert not [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)], file


# -- targets -------------------------------------------------------------------------------


def rows(host: float = 0.0, **hit: float) -> list[Row]:
    place = {"trace": "t", "geometry": "g", "device_gb": 1.0, "host_gb": host}
    return [place | {"policy": name.replace("_", "-"), "token_hit": x} for name, x in hit.items()]


BEATEN = {"sglang_default": 0.1, "sglang_best_static": 0.12, "sglang_unified": 0.14, "lru": 0.2,
          "bound": 0.5, "ceiling": 0.6}  # fmt: skip


def test_targets_are_what_they_say() -> None:
    told = targets(rows(**BEATEN, joint=0.2901), ["joint"], "held-out")
    assert [round(t.number or 0, 6) for t in told] == [9.01, 2.901, 2.072143, 0.300333, 0]
    assert [t.holds for t in told] == [True] * 4 + [None]
    assert [t.remark for t in targets(rows(**BEATEN, joint=0.2901), ["joint"], "all")][-2]


@pytest.mark.parametrize(("joint", "holds"), [(0.1969, False), (0.1971, True)])
def test_a_cell_may_lose_three_tenths_of_a_point(joint: float, holds: bool) -> None:
    told = targets(rows(**BEATEN, joint=joint), ["joint"], "all")
    assert told[0].holds is holds
    assert told[0].worst == "t, g, 1 GiB"
    assert len(failed(told, "joint")) == (3 if holds else 4) - (joint / 0.14 >= 1.25)
    assert [t.holds for t in failed(told, "joint")][-1] is None, "no host: not checked, not passed"
    assert failed(told, "lru") == []


def test_cells_near_the_ceiling_or_without_the_others_tell_nothing() -> None:
    near = rows(**{**BEATEN, "ceiling": 0.24}, joint=0.3)
    assert [t.number for t in targets(near, ["joint"], "all")][1:3] == [None, None]
    assert all(t.holds is None for t in targets(rows(joint=0.3), ["joint"], "all"))
    zero = targets(rows(**{**BEATEN, "sglang_default": 0.0}, joint=0.3), ["joint"], "all")
    assert zero[1].remark.startswith("1 cells left out")


def test_a_host_tier_counts_against_lru_alone() -> None:
    both = rows(**BEATEN, joint=0.3) + rows(4.0, lru=0.5, joint=0.49, bound=0.6, ceiling=0.6)
    told = targets(both, ["joint"], "all")
    assert (told[0].holds, told[0].worst) == (False, "t, g, 1 GiB + 4 GiB")
    assert [t.cells for t in told] == [2, 1, 1, 1, 0]


ALL = {("t", "g"): 4 << 30}
"""What is published: as much as a host of four times the device holds."""


@pytest.mark.parametrize(("joint", "holds"), [(0.571, True), (0.569, False)])
def test_where_the_bytes_suffice_nearly_all_is_hit(joint: float, holds: bool) -> None:
    both = rows(**BEATEN, joint=0.3) + rows(4.0, lru=0.6, joint=joint, ceiling=0.6)
    told = targets(both, ["joint"], "all", ALL)[-1]
    assert (told.holds, told.cells, told.worst) == (holds, 1, "t, g, 1 GiB + 4 GiB")
    assert told.number == pytest.approx(joint / 0.6)
    assert (told in failed([told], "joint")) is not holds


def test_where_the_bytes_do_not_suffice_the_ceiling_is_not_asked_for() -> None:
    poor = {"lru": 0.2, "joint": 0.2}
    ceiling = {"bound": 0.6, "ceiling": 0.6}
    for some, known in (
        (rows(4.0, **poor, **ceiling), {("t", "g"): (4 << 30) + 1}),
        (rows(8.0, **poor, **ceiling), ALL),
        (rows(0.0, **poor, **ceiling), ALL),
        (rows(4.0, **poor), ALL),
        (rows(4.0, **poor, **ceiling), {}),
    ):
        assert targets(some, ["joint"], "all", known)[-1].holds is None


def test_everything_published_is_what_a_cache_without_evictions_holds(folder: Path) -> None:
    played = everything(task(folder, EVERYTHING))
    needed = played.notes["published_bytes"]
    assert played.hit <= play(task(folder, "ceiling")).hit
    enough, less = (play(task(folder, "lru", n / (1 << 30))) for n in (1.2 * needed, needed / 2))
    assert (enough.notes["evicted_tokens"], enough.notes["evicted_states"]) == (0, 0)
    assert enough.hit == played.hit
    assert less.notes["evicted_states"] > 0


def test_the_cells_of_ample_hosts_are_played_alone_and_with_the_others(folder: Path) -> None:
    usual = ["--traces", str(folder), "--model", "qwen3-next", "--policy", "lru"]
    alone = [t.cell for t in tasks_of(parse_arguments([*usual, "--ample-host"]))]
    everybody = [t.cell for t in tasks_of(parse_arguments(usual))]
    assert [c.host_gb for c in alone if c.contender == "lru"] == [
        4 * gb for gb in AMPLE_GB.values()
    ]
    assert set(alone) <= set(everybody)
    assert len(everybody) == len(set(everybody))


# -- the report ----------------------------------------------------------------------------


def test_the_report_shows_flops_and_hosts_in_tables_and_plot() -> None:
    cells = [
        {"trace": "t", "geometry": "g", "device_gb": gb, "host_gb": times * gb, "policy": name,
         "token_hit": 0.1 * gb + 0.01 * times, "us_per_request": 7.0 if saved else None,
         "flops_saved": saved and 0.05 * gb + 0.01 * times}
        for gb in (1.0, 2.0) for times in (0.0, 4.0)
        for name, saved in (("lru", 1), ("bound", None))
    ]  # fmt: skip
    tables = {b.title: b for b in document(cells, [], "all", []).blocks if isinstance(b, Table)}
    saved = tables["FLOPs of the prefill saved, %"]
    assert saved.columns == ["trace", "geometry", "GiB", "lru"]
    assert [row[2:] for row in saved.rows] == [
        ["1", "5.00"], ["1 + 4", "9.00"], ["2", "10.00"], ["2 + 8", "14.00"],
    ]  # fmt: skip
    assert [row[2:] for row in tables["Token hits, %"].rows][1] == ["1 + 4", "14.00", "14.00"]
    drawn = plot(cells).figure
    labels = [button["label"] for button in drawn["layout"]["updatemenus"][0]["buttons"]]
    assert labels == [
        f"t, g{host}: {measure}"
        for host in ("", ", host of 4 times the device")
        for measure in ("prompt tokens hit", "prefill FLOPs saved")
    ]
    lines = [(trace["name"], trace["x"], trace["y"]) for trace in drawn["data"]]
    assert lines == [
        ("lru", [1.0, 2.0], [10.0, 20.0]),
        ("bound", [1.0, 2.0], [10.0, 20.0]),
        ("lru", [1.0, 2.0], [5.0, 10.0]),
        ("lru", [1.0, 2.0], [14.0, 24.0]),
        ("bound", [1.0, 2.0], [14.0, 24.0]),
        ("lru", [1.0, 2.0], [9.0, 14.0]),
    ]


# -- the command ---------------------------------------------------------------------------


def run(folder: Path, *more: str) -> int:
    out = folder / "out"
    return main(["--traces", str(folder), "--trace", "conversation", "--model", MODEL,
                 "--device-gb", "0.4,0.6", "--jobs", "1", "--out", str(out), *more])  # fmt: skip


def test_the_command_writes_everything_and_goes_on_where_it_stood(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--budget-s", "1e-9") == 0
    first = json.loads((folder / "out/policy.json").read_text())
    tiers = sum(entry.tiers for entry in contenders().values())
    assert len(first["open"]) == 2 * (len(contenders()) + tiers) + 1
    assert run(folder) == 0
    capsys.readouterr()
    assert run(folder) == 0
    assert capsys.readouterr().err == "", "everything was played before"
    found = json.loads((folder / "out/policy.json").read_text())
    assert found["open"] == []
    names = {row["policy"] for row in found["cells"]}
    assert {"sglang-default", "sglang-best-static", "sglang-unified", "lru", "clairvoyant",
            "bound"} <= names  # fmt: skip
    assert not any(name.startswith("sglang-static-") for name in names)
    best = [row for row in found["cells"] if row["policy"] == "sglang-best-static"]
    assert all(row["token_hit"] == max(row["tried"].values()) for row in best)
    assert len(best) == 2
    assert "plotly" in (folder / "out/policy.html").read_text()
    assert found["machine"]["sglang"] == "0.5.23"
    assert len(found["targets"]) % 5 == 0
    ((place, needed),) = found["published_bytes"].items()
    assert place == f"conversation, {MODEL}"
    assert needed > 4 * 0.6 * (1 << 30), "no host of these holds it all"
    assert [t["holds"] for t in found["targets"] if "holds all" in t["name"]] == [None] * len(
        POLICIES
    )
    assert run(folder, "--candidate", "lru", "--fail-on-targets") == 1
    assert "target missed by lru" in capsys.readouterr().out


def test_the_command_holds_a_host_with_room_for_everything_against_the_ceiling(
    folder: Path,
) -> None:
    sizes = ("--device-gb", "0.6,0.9", "--policy", "lru", "--policy", "ceiling")
    assert run(folder, *sizes, "--candidate", "lru") == 0
    found = json.loads((folder / "out/policy.json").read_text())
    (told,) = (t for t in found["targets"] if "holds all" in t["name"])
    (row,) = (r for r in found["cells"] if r["host_gb"] == 3.6 and r["policy"] == "lru")
    (top,) = (r for r in found["cells"] if r["host_gb"] == 3.6 and r["policy"] == "ceiling")
    assert told["cells"] == 1
    assert told["number"] == row["token_hit"] / top["token_hit"] > 0
    assert told["holds"] is (told["number"] >= 0.95)


def test_what_was_not_checked_is_not_passed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = ("--policy", "lru", "--policy", "bound", "--device-gb", "0.4")
    assert run(folder, *ours, "--candidate", "nonsense") == 2
    assert "--candidate nonsense: no such policy; give one of lru, joint" in capsys.readouterr().err
    assert run(folder, *ours, "--candidate", "lru") == 0
    assert run(folder, *ours, "--candidate", "lru", "--fail-on-targets") == 1
    told = capsys.readouterr().out
    assert "target not checked of lru: mean ratio to SGLang's best" in told
    assert "target missed by lru: mean share of the gap" in told
    # Of a candidate that was not played, nothing is known.
    assert run(folder, *ours, "--candidate", "joint", "--fail-on-targets") == 1
    found = json.loads((folder / "out/policy.json").read_text())["targets"]
    told = capsys.readouterr().out
    assert told.count("target not checked of joint") == len(found) // 2
    # Cells that are open are named.
    late = ("--policy", "joint", "--budget-s", "1e-9", "--fail-on-targets")
    assert run(folder, *ours, *late) == 1
    opened = f"not played for want of time: conversation, {MODEL}, 0.4 GiB"
    told = capsys.readouterr().out
    assert f"{opened}, joint\n" in told
    assert f"{opened} + 1.6 GiB, joint\n" in told


def test_named_splits_have_rows_and_the_best_is_never_below_the_default(folder: Path) -> None:
    words = ("--ratios", "4", "--policy", "sglang-best-static", "--policy", "sglang-static-4")
    assert run(folder, *words) == 0
    found = json.loads((folder / "out/policy.json").read_text())["cells"]
    assert [row["policy"] for row in found] == ["sglang-best-static", "sglang-static-4"] * 2
    assert set(found[0]["tried"]) == {"sglang-default", "sglang-static-4"}


def test_what_is_missing_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--traces", str(folder / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "claude-code/conversations.jsonl.gz" in error
    assert "--traces DIR" in error
    assert run(folder, "--policy", "best") == 2
    assert "--policy best: give some of" in capsys.readouterr().err
    assert run(folder, "--ratios", "0") == 2
    assert "--ratios 0: give numbers above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--device-gb", "nan"], "--device-gb nan: give numbers above 0 and at most"),
        (["--device-gb", "1,x"], "--device-gb x: give numbers above 0 and at most"),
        (["--device-gb", "0"], "--device-gb 0: give numbers above 0 and at most"),
        (["--device-gb", "inf"], "--device-gb inf: give numbers above 0 and at most"),
        (["--device-gb", ""], "--device-gb : give numbers above 0 and at most"),
        (["--limit=-1"], "--limit -1: give a whole number, 1 or more"),
        (["--limit", "0"], "--limit 0: give a whole number, 1 or more"),
        (["--jobs", "0"], "--jobs 0: give a whole number, 1 or more"),
        (["--jobs", "two"], "--jobs two: give a whole number, 1 or more"),
        (["--ratios", "0.5,nan"], "--ratios nan: give numbers above 0, with commas"),
        (["--ratios", "0"], "--ratios 0: give numbers above 0, with commas"),
        (["--budget-s", "0"], "--budget-s 0: give numbers above 0"),
        (["--budget-s", "1,2"], "--budget-s 1,2: give one number"),
    ],
)
def test_wrong_numbers_are_one_line(
    words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, *words) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--policies", "foo"], "--policies foo: no such policy; give some of lru, joint"),
        (["--policies", "lru,"], "--policies : no such policy"),
        (["--nodes", "0"], "--nodes 0: give a whole number"),
        (["--requests", "x"], "--requests x: give a whole number"),
        (["--gib", "nan"], "--gib nan: give numbers above 0"),
        (["--trace", "/no/such"], "/no/such"),
        (["--trace", "TRACE", "--gib", "0.001"], "give at least"),
    ],
)
def test_what_policies_cost_refuses_alike(
    words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(folder / "plain.jsonl") if word == "TRACE" else word for word in words]
    assert bench_policy_cost.main(named) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith("error: ")
    assert says in error
