"""`cachepawl diagnose-vllm`: files, what is printed, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from vllm_command import FILES, REPORT, assert_refused, run, run_on
from vllm_plans import plan, real_artifacts, runtime_notes, written

from cachepawl.cli.main import main
from cachepawl.offline.vllm.schema import CachePlan


def test_three_files_sorted_indented_and_reproducible(tmp_path: Path) -> None:
    done = run(tmp_path, "--timestamp", "2026-01-02T03:04:05+00:00", notes=runtime_notes(329))
    assert (done.code, done.err, done.files) == (0, "", FILES)
    printed = ["report.json", "summary.md", "manifest.json"]
    assert done.out.splitlines() == [str(done.folder / name) for name in printed]
    for name in ("report.json", "manifest.json"):
        text = (done.folder / name).read_text()
        assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    REPORT.validate_json((done.folder / "report.json").read_text())
    manifest = done.data("manifest.json")
    assert manifest["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert manifest["status"] == "planner_advisory_available"
    assert manifest["source_translated_cache_config"] == str(tmp_path / "plan.json")
    assert manifest["source_raw_safe_metadata"] == str(tmp_path / "notes.json")
    assert not any(manifest[k] for k in manifest if k.endswith("_required"))
    before = {name: (done.folder / name).read_bytes() for name in FILES}
    run(tmp_path, "--timestamp", "2026-01-02T03:04:05+00:00", notes=runtime_notes(329))
    assert before == {name: (done.folder / name).read_bytes() for name in FILES}


def test_without_timestamp_and_notes_they_are_null(tmp_path: Path) -> None:
    manifest = run(tmp_path).data("manifest.json")
    assert manifest["timestamp"] is None
    assert manifest["source_raw_safe_metadata"] is None


def test_what_is_printed(tmp_path: Path) -> None:
    done = run(tmp_path, "--summary-only")
    assert done.out == (done.folder / "summary.md").read_text()
    assert done.out.startswith("# vLLM cache plan\n\nPadding wastes between 0 % and 30.13 %")
    assert "| wasted_fraction                     | 0.4230902777777778 " in done.out
    assert "86 attention, 6 mamba" in done.out
    assert run(tmp_path, "--summary-only", "--format", "markdown").out == done.out
    as_json = (done.folder / "report.json").read_text()
    assert run(tmp_path, "--summary-only", "--format", "json").out == as_json
    assert run(tmp_path, "--format", "json").out == as_json


def test_the_summary_of_a_poor_plan_says_what_is_missing(tmp_path: Path) -> None:
    poor = plan() | {"num_blocks": None, "group_count": 9}
    done = run(tmp_path, "--summary-only", plan_value=poor)
    assert done.code == 0
    assert "Exact figures are not available: num_blocks is not in the plan." in done.out
    assert "- group_count is 9 but the number of groups is 4" in done.out
    assert "insufficient_data" in done.out
    assert "null" in done.out


def test_a_mix_that_the_pool_cannot_hold_is_marked(tmp_path: Path) -> None:
    done = run(tmp_path, "--summary-only", plan_value=plan(blocks=3))
    assert done.out.count("more than the pool has") == 2
    assert "| 1 attention, 3 mamba: more than the pool has " in done.out
    assert "| 3 mamba                                      " in done.out


def test_every_real_plan(tmp_path: Path) -> None:
    plans = sorted(real_artifacts().rglob("translated_*.json"))
    assert len(plans) == 4
    for number, path in enumerate(plans):
        notes = str(path.parent / "raw_safe_metadata.json")
        done = run_on(path, tmp_path / str(number), "--raw-safe-metadata", notes)
        assert (done.code, done.files) == (0, FILES)
        data = done.data()
        assert data["contradictions"] == []
        assert data["exact"]["unavailable"] is None
        bare = run_on(path, tmp_path / f"{number}-bare").data()
        assert bare["available_kv_cache_gpu_memory_bytes"] is None
        assert bare["planner_input_coverage"]["available_kv_cache_gpu_memory"] is False
        assert bare["exact"] == data["exact"]


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    observed = real_artifacts() / "vllm-runtime-cache-plan-observation"
    notes = str(observed / "raw_safe_metadata.json")
    done = run_on(
        observed / "translated_runtime_cache_config.json", tmp_path / "out", "--summary-only",
        "--raw-safe-metadata", notes, "--mix", "attention=200,mamba=60",
    )  # fmt: skip
    page = Path(__file__).parents[2] / "docs/commands/diagnose-vllm.md"
    assert f"````\n{done.out}````\n" in page.read_text(encoding="utf-8")


def test_gates(tmp_path: Path) -> None:
    equal = ["--fail-on-waste-fraction", "0.4230902777777778",
             "--fail-on-overestimation-ratio", "1.7333734577189286"]  # fmt: skip
    assert run(tmp_path, *equal).code == 0
    done = run(tmp_path, "--fail-on-waste-fraction", "0.4", "--fail-on-overestimation-ratio", "1.7")
    assert (done.code, done.files, done.err.count("\n")) == (1, FILES, 1)
    assert "wasted_fraction 0.4230902777777778 > 0.4" in done.err
    assert "overestimation_ratio 1.7333734577189286 > 1.7" in done.err
    exact = ["--accounting", "exact", "--fail-on-waste-fraction"]
    assert run(tmp_path, *exact, "0.31").code == 0
    assert run(tmp_path, *exact, "0.3").code == 1
    assert run(tmp_path, *exact, "0.02", "--mix", "attention=86,mamba=6").code == 0
    assert run(tmp_path, *exact, "0.01", "--mix", "attention=86,mamba=6").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--fail-on-waste-fraction", "nan"],
        ["--fail-on-waste-fraction", "-0.1"],
        ["--fail-on-waste-fraction", "inf"],
        ["--fail-on-waste-fraction", "x"],
        ["--fail-on-waste-fraction", "42"],
        ["--fail-on-overestimation-ratio", "nan"],
        ["--fail-on-overestimation-ratio", "-1"],
        ["--fail-on-overestimation-ratio", ""],
        ["--mix", "nothing"],
        ["--mix", "mamba=330"],
        ["--sequence-tokens", "0"],
        ["--sequence-tokens", "4097"],
        ["--timestamp", "two\nlines"],
        ["--timestamp", "x" * 201],
        ["--timestamp", "\udcff"],
        ["--accounting", "other"],
        ["--format", "html"],
        ["--raw-safe-metadata", "/nowhere/notes.json"],
        ["--raw-safe-metadata", "/"],
        ["extra"],
    ],
)
def test_wrong_options(words: list[str], tmp_path: Path) -> None:
    assert_refused(run(tmp_path, *words))


@pytest.mark.parametrize("accounting", ["classic", "exact"])
@pytest.mark.parametrize("gate", ["--fail-on-waste-fraction", "--fail-on-overestimation-ratio"])
def test_a_gate_on_null_is_refused(gate: str, accounting: str, tmp_path: Path) -> None:
    done = run(
        tmp_path, gate, "1", "--accounting", accounting, plan_value=plan() | {"num_blocks": None}
    )
    assert_refused(done, gate, "is null", "num_blocks")


def test_required_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose-vllm"]) == 2
    assert main(["diagnose-vllm", "--translated-cache-config", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_the_schemas_are_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose-vllm", "--json-schema"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema_version"] == 1
    assert data["translated_cache_config"]["additionalProperties"] is False
    assert set(data["translated_cache_config"]["properties"]) == set(CachePlan.model_fields)
    runtime, planner = data["raw_safe_metadata"]["anyOf"]
    assert "available_gpu_memory_for_kv_cache" in runtime["properties"]
    assert "available_memory" in planner["properties"]
    assert {"wasted_fraction", "exact"} <= set(data["report"]["properties"])
    size = data["translated_cache_config"]["$defs"]["Tensor"]["properties"]["size_bytes"]
    assert (size["type"], size["minimum"], size["maximum"]) == ("integer", 0, 1 << 60)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = run_on(written(tmp_path / "plan.json", plan()), tmp_path / "out")
    assert done.code == 2
    assert "nothing was written" in done.err


def test_odd_paths(tmp_path: Path) -> None:
    path = written(tmp_path / os.fsdecode(b"pl\xffn\n.json"), plan())
    done = run_on(path, tmp_path / "out")
    assert done.code == 0
    assert "pl\\xffn\n.json" in done.data("manifest.json")["source_translated_cache_config"]
    bad = run_on(tmp_path / "none\n.json", tmp_path / "out2")
    assert_refused(bad, "No such file")


BYTES = {
    "empty": b"",
    "blank": b" \n",
    "latin": json.dumps(plan()).encode().replace(b"attention", b"attenti\xf6n"),
    "utf-16": json.dumps(plan()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(plan()).encode(),
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "NaN": json.dumps(plan() | {"num_blocks": float("nan")}).encode(),
    "infinite": json.dumps(plan() | {"num_blocks": float("-inf")}).encode(),
    "huge": json.dumps(plan()).encode().replace(b'"num_blocks": 20', b'"num_blocks": 1e999'),
    "long": json.dumps(plan()).encode().replace(b": 20", b": 2" + b"0" * 5000),
    "twice": json.dumps(plan()).encode().replace(b'"num_blocks"', b'"layer_count"'),
    "deep": b'{"groups":' + b"[" * 100_000,
    "gzip begun": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("which", ["plan", "notes"])
def test_damaged_files(name: str, which: str, tmp_path: Path) -> None:
    good = written(tmp_path / "good.json", plan())
    bad = tmp_path / "bad.json"
    bad.write_bytes(BYTES[name])
    if which == "plan":
        done = run_on(bad, tmp_path / "out")
    else:
        done = run_on(good, tmp_path / "out", "--raw-safe-metadata", str(bad))
    assert_refused(done, "bad.json")


def test_places_that_are_no_files(tmp_path: Path) -> None:
    assert_refused(run_on(tmp_path, tmp_path / "out"), "is a directory")
    assert_refused(run_on(tmp_path / "none.json", tmp_path / "out"), "No such file")


def test_the_program_itself_and_a_file_without_permission(tmp_path: Path) -> None:
    path = written(tmp_path / "plan.json", plan())
    path.chmod(0)
    # Run where the superuser's right to read all is dropped; others have none.
    code = (
        "import os, sys\n"
        "from cachepawl.cli.main import main\n"
        "if os.geteuid() == 0:\n"
        "    import cachepawl.cli.diagnose_vllm\n"
        "    os.seteuid(65534)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    tmp_path.chmod(0o755)
    words = ["diagnose-vllm", "--translated-cache-config", "plan.json", "--output-dir", "out"]
    locked = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (locked.returncode, locked.stdout, locked.stderr.count("\n")) == (2, "", 1)
    assert "plan.json" in locked.stderr
    assert not (tmp_path / "out").exists()
    path.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "cachepawl", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES
