"""`cachepawl plan` as people run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import drawn_page, plots_in

from cachepawl.cli.main import main

QWEN = ["plan", "--model", "Qwen3-Next-80B-A3B-Instruct", "--page-size", "64"]
CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "dtype": "bfloat16",
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
    "max_position_embeddings": 8192,
}  # fmt: skip


def data(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main([*words, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["comparisons"]
    return found


def of(comparison: dict[str, Any], layout: str, context: int) -> dict[str, Any]:
    rows = [
        row
        for row in comparison["rows"]
        if row["layout"] == layout and row["context_tokens"] == context
    ]
    return rows[0]  # type: ignore[no-any-return]


def test_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = data(capsys, *QWEN, "--rest-gb", "30", "--tp", "4", "--context", "8192", "--context",
                  "65536", "--concurrency", "16")  # fmt: skip
    assert one["budget_bytes"] == 30 << 30
    assert one["budget_exact"]
    static, arena = of(one, "static split", 65536), of(one, "arena", 65536)
    assert (static["ratio"], static["kv_tokens"], static["state_slots"]) == (0.9, 1381120, 788)
    assert static["request_limit"] == 788 // 5
    # 1,381,120 // 65,536, and no more, while 700 state slots are idle.
    assert (static["held"], static["cached_by"]) == (21, "KV")
    assert arena["held"] > static["held"]
    assert of(one, "best ratio", 65536)["ratio"] < 0.2 < of(one, "best ratio", 8192)["ratio"]
    layouts = {row["layout"] for row in one["rows"]}
    assert layouts == {"static split", "best ratio", "unified memory", "arena"}


def test_a_shared_prefix_makes_room(capsys: pytest.CaptureFixture[str]) -> None:
    ask = [*QWEN, "--rest-gb", "30", "--context", "32768"]
    (alone,), (shared,) = data(capsys, *ask), data(capsys, *ask, "--prefix-share", "0.5")
    for layout in ("static split", "arena"):
        assert of(shared, layout, 32768)["held"] > 1.5 * of(alone, layout, 32768)["held"]


def test_a_gpus_memory_less_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpu", "h100", "--tp", "4", "--flags", "--mem-fraction-static 0.9"]
    (one,) = data(capsys, *QWEN, *words)
    assert one["budget_bytes"] == int((81559 << 20) * 0.9 - 40 * 10**9)
    assert not one["budget_exact"]
    (given,) = data(capsys, *QWEN, *words, "--weights-gb", "80")
    assert given["budget_bytes"] == int((81559 << 20) * 0.9 - (20 << 30))


def test_several_models_and_gpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found = data(
        capsys, "plan", "--model", "Falcon-H1-7B", "--model", str(tmp_path), "--gpu", "l40s",
        "--gpu-gb", "40", "--rest-gb", "5", "--context", "4096", "--weights-gb", "14",
    )  # fmt: skip
    assert len(found) == 6
    assert [len(c["rows"]) for c in found] == [6, 6, 6, 2, 2, 2]
    # Attention alone: nothing to split, no unified memory.
    assert [row["layout"] for row in found[3]["rows"]] == ["static split", "arena"]


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = data(capsys, *QWEN, "--gpu", "l4")
    assert one["rows"] == []
    assert "leave nothing" in one["left_out"][0]["why"]
    (tight,) = data(capsys, *QWEN, "--rest-gb", "0.4", "--context", "100")
    assert "static split 0.2" in {entry["layout"] for entry in tight["left_out"]}


def test_a_layout_that_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = data(capsys, "plan", "--model", "Kimi-Linear-48B", "--rest-gb", "20")
    assert [entry["layout"] for entry in one["left_out"]] == ["arena"]
    assert "MLA" in one["left_out"][0]["why"]


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*QWEN, "--gpu", "h100", "--tp", "4", "--context", "4096", "--context", "65536"]) == 0
    )
    text = capsys.readouterr().out
    assert "static split 0.9" in text
    assert "an estimate" in text
    assert "80B parameters by its name" in text
    assert "best for 65,536 tokens" in text
    assert "arena runs 8 and keeps " in text


def test_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*QWEN, "--rest-gb", "30", "--output-dir", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"report.json", "summary.md", "report.html"}
    page = (out / "report.html").read_text()
    assert "conversations held over their length" in page
    assert plots_in(drawn_page(page, tmp_path)) == 2


def test_drawings_are_the_tables_numbers() -> None:
    from cachepawl.offline.models import load_model
    from cachepawl.offline.plan.compare import Ask, compare
    from cachepawl.offline.plan.places import make_places
    from cachepawl.offline.plan.plots import plots
    from cachepawl.offline.plan.workload import Workload
    from cachepawl.offline.sglang.flags import parse_flags

    ask = Ask(parse_flags([]), [Workload(5000, 0, 4)], [], None)
    (place,) = make_places([], [], [20.0])
    found = compare(load_model("Falcon-H1-7B"), place, ask)
    over_length, over_ratio = plots(found)
    drawn = {
        line["name"]: dict(zip(line["x"], line["y"], strict=True))
        for line in over_length.figure["data"]
    }
    for row in found.rows:
        name = "static split 0.9" if row.layout == "static split" else row.layout
        assert drawn[name][5000] == row.fit.held
    best = next(row for row in found.rows if row.layout == "best ratio")
    line, arena = over_ratio.figure["data"]
    assert max(n or 0 for n in line["y"]) == best.fit.held
    assert set(arena["y"]) == {next(r.fit.held for r in found.rows if r.layout == "arena")}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan"], "--model"),
        ([*QWEN], "use --gpu, --gpu-gb or --rest-gb"),
        ([*QWEN, "--gpu", "h1000"], "--gpu h1000: one of h100-80gb"),
        ([*QWEN, "--gpu-gb", "-1"], "--gpu-gb -1"),
        ([*QWEN, "--rest-gb", "nan"], "--rest-gb nan"),
        ([*QWEN, "--rest-gb", "9", "--context", "0"], "--context 0"),
        ([*QWEN, "--rest-gb", "9", "--ratio", "0"], "--ratio 0"),
        ([*QWEN, "--rest-gb", "9", "--tp", "3"], "3 tensor-parallel ranks"),
        ([*QWEN, "--rest-gb", "9", "--flags", "--page-size x"], "--flags: --page-size x"),
        ([*QWEN, "--rest-gb", "9", "--flags", "'"], "quot"),
        ([*QWEN, "--rest-gb", "9", "--flags", "--dcp-size 2"], "--dcp-size 2"),
        (["plan", "--model", "qwen9", "--rest-gb", "9"], "no preset 'qwen9'"),
        (["plan", "--model", "Qwen3.5", "--rest-gb", "9"], "short for 8 presets"),
        (["plan", "--model", "granite-4.0-h-tiny", "--gpu", "h100"], "--weights-gb"),
        (["plan", "--model", "Hymba", "--rest-gb", "9"], "sliding-window"),
        ([*QWEN, *(w for n in range(500) for w in ("--rest-gb", str(n + 1)))], "more than 400"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
