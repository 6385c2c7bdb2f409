"""`cachepawl replay` as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_load import Load, write_log
from tiny_replays import write_trace

from cachepawl.cli.main import main
from cachepawl.record.recording import Record

MODEL = ["--model", "Qwen3-Next-80B-A3B-Instruct"]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    return str(write_trace(tmp_path / "trace.jsonl"))


def test_report_as_json(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", trace, *MODEL, "--device-gb", "1", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (one,) = data["replays"]
    assert (one["device_bytes"], one["policy"], one["requests"]) == (1 << 30, "joint", 40)
    assert data["options"]["grid"] == 512
    assert data["bounds"] == []


def test_device_by_host(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*MODEL, "--device-gb", "0.6,4", "--host-gb", "0,4", "--jobs", "1"]
    assert main(["replay", trace, *words, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    hits = {
        (one["device_bytes"] / (1 << 30), one["host_bytes"] >> 30): one["hit_tokens"]
        for one in data["replays"]
    }
    small, large = sorted({device for device, _ in hits})
    assert hits[small, 4] > hits[small, 0]
    assert hits[large, 4] >= hits[large, 0]
    assert main(["replay", trace, *words, "--format", "markdown"]) == 0
    assert "What the host brought" in capsys.readouterr().out


def test_files_of_a_comparison(trace: str, tmp_path: Path) -> None:
    """In processes, started the way a shell does."""
    out = tmp_path / "out"
    words = [trace, *MODEL, "--device-gb", "1,4", "--limit", "9", "--jobs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "cachepawl", "replay", *words, "--compare", "joint",
         "--output-dir", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "report.html", "report.json", "summary.md",
    ]  # fmt: skip
    data = json.loads((out / "report.json").read_text())
    assert [one["device_bytes"] >> 30 for one in data["replays"]] == [1, 4]
    assert data["trace"]["requests"] == 9
    assert {one["name"] for one in data["bounds"]} >= {"endless memory"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([*MODEL], "--device-gb"),
        ([*MODEL, "--device-gb", "much"], "'much'"),
        ([*MODEL, "--device-gb", "20,,40"], "--device-gb ''"),
        ([*MODEL, "--device-gb", "nan"], "'nan'"),
        ([*MODEL, "--device-gb", "-1"], "'-1'"),
        ([*MODEL, "--device-gb", "0.1"], "give at least"),
        ([*MODEL, "--device-gb", "1", "--host-gb", "8,x"], "--host-gb 'x'"),
        ([*MODEL, "--device-gb", "1", "--host-gb", "-1"], "--host-gb '-1'"),
        ([*MODEL, "--device-gb", "1", "--host-gb", "0.01"], "--host-gb 0.01"),
        ([*MODEL, "--device-gb", "1", "--compare", "best"], "--compare 'best'"),
        ([*MODEL, "--device-gb", "1", "--policy", "best"], "'best'"),
        ([*MODEL, "--device-gb", "1", "--chunk", "100"], "--chunk 100"),
        ([*MODEL, "--device-gb", "1", "--page", "0"], "0"),
        (
            [*MODEL, "--device-gb", "1", "--page", "48"],
            "--page 48: the trace's blocks of 512 tokens are not whole pages; give a page size "
            "that divides 512, or whole blocks",
        ),
        ([*MODEL, "--device-gb", "1", "--page", "7"], "--page 7: the trace's blocks of 512"),
        ([*MODEL, "--device-gb", "1", "--page", "768", "--chunk", "7680"], "divides 512"),
        ([*MODEL, "--device-gb", "1", "--page", "48", "--grid", "48"], "divides 512"),
        ([*MODEL, "--device-gb", "1", "--trace-format", "csv"], "csv"),
        (["--model", "LFM2-1.2B", "--device-gb", "1"], "--page 16"),
        ([*MODEL, "--device-gb", "1", "--gap", "-1"], "gap -1"),
        (["--model", "no-such-model", "--device-gb", "1"], "no-such-model"),
        (["--model", "microsoft/Samba-1.3B", "--device-gb", "1"], "window"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], named: str, trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", trace, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cachepawl: ")
    assert err.count("\n") == 1
    assert named in err


def test_bad_lines(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Path(trace).open("a") as file:
        file.write('{"timestamp": 1}\n')
    words = ["replay", trace, *MODEL, "--device-gb", "1"]
    assert main(words) == 2
    assert f"{trace}:41" in capsys.readouterr().err
    assert main([*words, "--skip-bad-lines"]) == 0
    text = capsys.readouterr().out
    assert "1 lines skipped" in text
    assert "trace.jsonl:41" in text


def test_a_missing_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "/no/such", *MODEL, "--device-gb", "1"]) == 2
    assert "/no/such" in capsys.readouterr().err


def test_without_heavy_imports(trace: str) -> None:
    code = (
        "import sys\n"
        "for n in ('torch', 'numpy', 'triton', 'sglang'): sys.modules[n] = None\n"
        "from cachepawl.cli.main import main\n"
        f"assert main(['replay', {trace!r}, *{MODEL!r}, '--device-gb', '1']) == 0\n"
        "assert not {'plotly', 'pydantic', 'jinja2'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "log.zst"
    records: list[Record] = []
    Load(records.append).run(60)
    write_log(path, records)
    return path


def test_a_recording_is_run_again(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rerun"]["divergence"] is None
    assert data["rerun"]["calls"] > 300
    assert data["requests"]["ended"] == 60


def test_a_recording_that_was_changed_fails_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records: list[Record] = []
    Load(records.append).run(20)
    at = next(i for i, r in enumerate(records) if r[0] == "match" and r[-2])
    records[at] = (*records[at][:-2], 0, records[at][-1])
    write_log(tmp_path / "log", records)
    assert main(["replay", str(tmp_path / "log")]) == 1
    out, err = capsys.readouterr()
    assert "The re-run differs from the recording." in out
    assert err.startswith("cachepawl: ")
    assert err.count("\n") == 1


def test_a_recording_on_other_bytes(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replay", str(recording), *MODEL, "--device-gb", "1,2", "--compare", "joint"]
    assert main([*words, "--page", "4", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["trace"]["format"] == "cachepawl"
    assert data["trace"]["requests"] == 60
    assert main(["replay", str(recording), *MODEL]) == 2
    assert main(["replay", str(recording), *MODEL, "--device-gb", "1",
                 "--trace-format", "mooncake"]) == 2  # fmt: skip
    assert "looks like cachepawl, not mooncake" in capsys.readouterr().err


def test_one_request_is_explained(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hit and misses are the prompt, and what was evicted names the decision that did it."""
    words = ["replay", trace, *MODEL, "--device-gb", "0.8", "--policy", "lru", "--compare", "joint"]
    causes = 0
    for number in range(25, 41, 3):
        assert main([*words, "--explain", str(number), "--format", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [one["policy"] for one in told["scenarios"]] == ["lru", "joint"]
        for one in told["scenarios"]:
            missed = sum(miss["tokens"] for miss in one["missed"])
            assert one["hit_tokens"] + missed == told["prompt_tokens"]
            for miss in one["missed"]:
                assert (miss["decision"] is not None) == (miss["age"] is not None)
                if miss["decision"] is not None:
                    causes += 1
                    assert miss["by"] == one["policy"]
                    assert miss["decision"]["request"] < number
                    assert miss["decision"]["why"]
    assert causes
    assert main([*words, "--explain", "41"]) == 2
    assert "the trace has 40 requests" in capsys.readouterr().err
