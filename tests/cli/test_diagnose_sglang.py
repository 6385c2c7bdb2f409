"""The command as people run it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.cli.main import main
from cachepawl.offline.sglang.findings.checks import CHECKS

MODEL = "Qwen3-Next-80B-A3B-Instruct"
SMALL_POOL = ["--model", MODEL, "--flags", "--max-running-requests 40 --chunked-prefill-size 8192",
              "--rest-gb", "20"]  # fmt: skip
METRICS = 'sglang:token_usage{tp_rank="0"} 0.25\nsglang:mamba_available_tokens 3.0\n'
LOG = "[2026-01-02 03:04:05] server_args={'page_size': 16, 'tp_size': 1}\n"
INFO = json.dumps({"internal_states": [{"max_mamba_cache_size": 9}], "page_size": 16})
LAUNCH = "python -m sglang.launch_server --page-size 16 --mamba-track-interval 256\n"
CONFIG = json.dumps({"model_type": "qwen3_next", "hidden_size": 64})
SEEDS = {"--metrics": METRICS, "--log": LOG, "--server-info": INFO, "--launch": LAUNCH,
         "--model": CONFIG}  # fmt: skip


def diagnosed(*words: str, capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["diagnose-sglang", "--format", "json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_plan_and_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """20 GiB: 9.474 GiB of states of 73.69 MiB, one for padding, are 130; 130 // 5 = 26."""
    data = diagnosed(*SMALL_POOL, capsys=capsys)
    assert data["plan"]["state_bytes"] == 77_266_944
    slots = int((20 * 2**30 * 0.9 / 1.9 - 77_266_944) // 77_266_944)
    assert data["plan"]["state_slots"] == slots == 130
    (h6,) = (f for f in data["findings"] if f["id"] == "H6")
    assert h6["numbers"]["cap"] == 26
    assert h6["severity"] == "warning"
    assert h6["changes"][0]["flag"] == "--mamba-full-memory-ratio"
    assert h6["link"] == "docs/findings.md#h6"
    needs = {n["id"]: n["needs"] for n in data["not_checked"]}
    assert "--typical-prompt" in needs["H1"]
    assert "--metrics" in needs["H10"]
    counted = len(data["findings"]) + len(data["fine"]) + len(data["not_checked"])
    assert counted == len(CHECKS)


def test_words_after_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    data = diagnosed("--model", MODEL, "--", "python", "-m", "sglang.launch_server",
                     "--int8-mamba-ckpt-size", "7", capsys=capsys)  # fmt: skip
    (h9,) = data["findings"]
    assert h9["changes"] == [{"flag": "--int8-mamba-ckpt-size", "to": ""}]


@pytest.mark.parametrize(
    ("level", "flags", "code"),
    [
        ("warning", "--page-size 16", 0),
        ("error", "--int8-mamba-ckpt-size 7", 0),
        ("warning", "--int8-mamba-ckpt-size 7", 1),
        ("error", "--mamba-max-states-per-path 0", 1),
        ("warning", "--mamba-max-states-per-path 0", 1),
    ],
)
def test_gate(level: str, flags: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diagnose-sglang", "--model", MODEL, "--flags", flags, "--fail-on", level]
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out.startswith("# cachepawl diagnose-sglang")
    assert err.count("\n") == code
    assert code == 0 or re.fullmatch(rf"cachepawl: --fail-on {level}: H\d+\n", err)


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose-sglang", *SMALL_POOL, "--output-dir", str(tmp_path / "out")]) == 0
    names = {"report.json", "summary.md", "report.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert "H6" in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--flags", "--page-size 16", "--", "--page-size", "1"],
        ["--flags", "hello"],
        ["server.log"],
        ["--flags", "--page-size x"],
        ["--flags", "'"],
        ["--model", "nope"],
        ["--model", "a\0b"],
        ["--log", "nope"],
        ["--log", "/"],
        ["--metrics", "/"],
        ["--server-info", "/"],
        ["--launch", "/"],
        ["--flags", "--tp-size 0", "--model", MODEL],
        ["--flags", "--page-size 0", "--model", MODEL],
        ["--flags", "--dp-size 0 --enable-dp-attention", "--model", MODEL],
        ["--flags", "--nnodes 0 --enable-hierarchical-cache", "--model", MODEL],
        ["--flags", "--mamba-track-interval 0", "--model", MODEL],
        ["--flags", "", "--context", "-1"],
        ["--flags", "", "--typical-prompt", "nan"],
        ["--flags", "", "--concurrency", "inf"],
        ["--flags", "", "--rest-gb", "0"],
        ["--flags", "", "--rest-gb", "1", "--gpu", "h100-80gb"],
        ["--flags", "", "--gpu", "nope"],
        ["--flags", "", "--fail-on", "info"],
    ],
)
def test_bad_input_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose-sglang", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cachepawl: ")
    assert err.count("\n") == 1


@st.composite
def damaged(draw: st.DrawFn, seed: str) -> bytes:
    """A text cut, doubled, with bytes changed, or something else altogether."""
    data = bytearray(draw(st.sampled_from([seed, *SEEDS.values()])).encode())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"NaN", b"-1", b"1e999", b"9" * 500, b"null", b"{}", b"\xff", b"true",
                             b"'", b'"', b"--tp-size 0 ", b"\n", b"{", b"["]),
        ))  # fmt: skip
        data[at : at + draw(st.integers(0, 6))] = piece
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@pytest.mark.parametrize("option", SEEDS)
def test_damaged_files_never_crash(option: str, tmp_path: Path) -> None:
    path = tmp_path / "input.json"

    @settings(max_examples=80)
    @given(damaged(SEEDS[option]))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        assert main(["diagnose-sglang", option, str(path), "--format", "json"]) in (0, 2)

    check()


NUMBERS = st.one_of(st.integers(-3, 600), st.sampled_from([2**31, 10**15, 10**18]))
FLAGS = st.dictionaries(
    st.sampled_from(
        ["--page-size", "--tp-size", "--dp-size", "--nnodes", "--dcp-size", "--context-length",
         "--chunked-prefill-size", "--mamba-track-interval", "--max-mamba-cache-size",
         "--max-running-requests", "--max-total-tokens", "--hicache-size", "--pp-size",
         "--mamba-max-states-per-path", "--int8-mamba-ckpt-size", "--attn-dp-size",
         "--speculative-num-draft-tokens"]
    ),
    NUMBERS.map(str),
    max_size=6,
)  # fmt: skip
SWITCHES = st.sets(
    st.sampled_from(
        ["--enable-hierarchical-cache", "--enable-unified-memory", "--enable-dp-attention",
         "--disable-radix-cache", "--disable-overlap-schedule", "--enable-int8-mamba-checkpoint",
         "--speculative-algorithm EAGLE", "--hicache-ratio 0.5", "--mamba-full-memory-ratio 3",
         "--cachepawl-policy lru", "--mamba-radix-cache-strategy extra_buffer_lazy"]
    ),
    max_size=5,
)  # fmt: skip


@settings(max_examples=200)
@given(FLAGS, SWITCHES, st.sampled_from([MODEL, "Kimi-Linear-48B-A3B-Instruct", "LFM2-350M"]))
def test_any_numbers_never_crash(flags: dict[str, str], switches: set[str], model: str) -> None:
    text = " ".join([*(f"{flag} {value}" for flag, value in flags.items()), *sorted(switches)])
    words = ["--model", model, "--flags", text, "--rest-gb", "5", "--typical-prompt", "900",
             "--typical-answer", "90", "--concurrency", "9", "--host-memory-gb", "99"]  # fmt: skip
    assert main(["diagnose-sglang", *words, "--format", "json"]) in (0, 2)


def test_no_heavy_imports() -> None:
    code = (
        "import sys\n"
        "for n in ('torch', 'sglang', 'triton', 'numpy'): sys.modules[n] = None\n"
        "from cachepawl.cli.main import main\n"
        f"sys.exit(main(['diagnose-sglang', '--model', {MODEL!r}, '--rest-gb', '9']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_finding_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "findings.md").read_text()
    anchors = re.findall(r"^## (H\d+)$", text, re.MULTILINE)
    assert anchors == list(dict.fromkeys(check.id for check in CHECKS))


def test_the_documented_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line that the page shows of the first command is printed by it."""
    page = Path(__file__).parents[2] / "docs" / "commands" / "diagnose-sglang.md"
    text = page.read_text()
    command = text.split("```\n")[1].replace("\\\n", " ")
    shown = text.split("````\n")[1].splitlines()
    assert main(shlex.split(command)[1:]) == 0
    printed = set(capsys.readouterr().out.splitlines())
    assert [line for line in shown if line not in printed and line != "..."] == []
    assert len(shown) > 40
