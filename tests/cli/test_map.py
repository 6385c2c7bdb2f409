"""`cachepawl map` as people call it: forms, files, and one line for what is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from small_caches import SmallCache

from cachepawl.cli.main import main
from cachepawl.observe.snapshot import snapshot


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(snapshot(SmallCache(4, 20, 3).serve(random.Random(5), 60))))
    return path


def test_every_form(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for form in ("markdown", "html", "svg", "json"):
        assert main(["map", str(saved), "--format", form]) == 0
        printed[form], err = capsys.readouterr()
        assert err == ""
    assert printed["markdown"].startswith("# Map of saved.json\n")
    assert printed["html"].startswith("<!doctype html>")
    assert ET.fromstring(printed["svg"]).get("aria-label") == "Map of saved.json"
    assert json.loads(printed["json"]) == json.loads(saved.read_text())
    folder = tmp_path / "out"
    assert main(["map", str(saved), "--output-dir", str(folder)]) == 0
    names = {"report.json": "json", "summary.md": "markdown", "report.html": "html",
             "map.svg": "svg"}  # fmt: skip
    assert capsys.readouterr().out.split() == [str(folder / name) for name in names]
    for name, form in names.items():
        assert (folder / name).read_text() == printed[form]


def test_a_map_of_a_map_is_the_same(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", str(saved), "--format", "json"]) == 0
    saved.write_text(first := capsys.readouterr().out)
    assert main(["map", str(saved), "--format", "json"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("form", ["svg", "markdown"])
def test_keys_are_sorted_and_kinds_are_not(
    saved: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", str(saved), "--format", form]) == 0
    first = capsys.readouterr().out
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert main(["map", str(saved), "--format", form]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "either a file or --url"),
        (["saved.json", "--url", "http://127.0.0.1:1"], "either a file or --url"),
        (["saved.json", "--at", "3"], "only a recording"),
        (["saved.json", "--at-operation", "3"], "only a recording"),
        (["saved.json", "--nodes", "3"], "drawn as it was saved"),
        (["saved.json", "--format", "png"], "png"),
        (["gone.json"], "gone.json: No such file"),
        (["."], ".: is a directory"),
        (["other.json"], "neither a recording nor a saved map"),
        (["--url", "localhost:30000"], "give the server's address"),
        (["--url", "http://127.0.0.1:1", "--timeout", "0"], "--timeout 0.0"),
        (["--url", "http://127.0.0.1:1", "--at", "1"], "only a recording"),
    ],
)
def test_wrong_use_is_one_line(
    words: list[str],
    says: str,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(saved.parent)
    Path("other.json").write_text("{}")
    assert main(["map", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cachepawl: ")
    assert err.count("\n") == 1
    assert says in err


def test_nothing_is_written_where_it_cannot_be(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocker = saved.parent / "file"
    blocker.write_text("")
    assert main(["map", str(saved), "--output-dir", str(blocker / "out")]) == 2
    assert "nothing was written" in capsys.readouterr().err
