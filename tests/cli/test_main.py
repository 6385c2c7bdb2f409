"""The program as people run it: exit codes, one line of error, a quick start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachepawl import __version__
from cachepawl.cli.app import COMMANDS, app
from cachepawl.cli.main import main

BLOCKED = "import sys\nfor n in ('torch', 'sglang', 'triton', 'numpy'): sys.modules[n] = None\n"


def run(*words: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cachepawl", *words], capture_output=True, text=True, **more
    )


def test_version_and_help() -> None:
    assert run("--version").stdout.strip().endswith(__version__)
    text = run("--help").stdout
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [["nope"], ["info", "--nope"], ["info", "--format", "pdf"], ["info", "extra"], ["--nope"]],
)
def test_wrong_usage_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cachepawl: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"cachepawl {name}" in capsys.readouterr().out.split("xample")[1]


def test_every_command_has_its_help() -> None:
    for name in COMMANDS:
        command = app.get_command(None, name)  # type: ignore[attr-defined]
        assert command is not None
        assert command.name == name
        assert command.help


def test_the_start_imports_little() -> None:
    code = BLOCKED + (
        "from cachepawl.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'pydantic', 'plotly', 'jinja2', 'rich', 'tabulate', 'zstandard'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_everything_imports_without_torch_and_sglang() -> None:
    code = BLOCKED + (
        "import pkgutil, importlib, cachepawl.cli, cachepawl.offline\n"
        "for room in (cachepawl.cli, cachepawl.offline):\n"
        "    for found in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "        print(found.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "cachepawl.offline.info" in done.stdout


def test_info_with_torch() -> None:
    data = json.loads(run("info", "--format", "json", check=True).stdout)
    assert data["versions"]["cachepawl"] == __version__
    assert data["versions"]["sglang"] == "0.5.23"
    assert bool(data["devices"]) != bool(data["no_devices"])


def test_info_without_torch(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "not installed" in out
    assert "No device: torch is not installed." in out


def test_info_as_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--output-dir", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out.split()
    assert sorted(map(Path, told)) == sorted((tmp_path / "out").iterdir())
    assert __version__ in (tmp_path / "out" / "summary.md").read_text()
    assert main(["info", "--output-dir", "/dev/null/x"]) == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output_is_one_line(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cachepawl", "info"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "cachepawl", "--help"],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
