"""What the launcher refuses before SGLang is imported: one line, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachepawl.errors import ConfigError
from cachepawl.policy.joint.history import OldSpell, save
from cachepawl_launch.cli import main
from cachepawl_launch.flags import options_of, split_flags


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    words = ["--cachepawl-policy", "joint", "--cachepawl-policy-history", str(path)]
    assert main([*words, "--cachepawl-host-layerwise"]) == 2  # without a host tier
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "fields"),
        ("", "no JSON"),
        ("[" * 5000, "no JSON"),
        ("\x00\xff", "no JSON"),
        ('{"format": "other", "version": 1, "spells": []}', "field format is 'other'"),
    ],
    ids=["other", "empty", "deep", "bytes", "foreign"],
)
def test_a_broken_history(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history"
    path.write_text(text)
    line = refusal(path, capsys)
    assert line.startswith(f"cachepawl: policy history {path}: ")
    assert says in line
    assert path.read_text() == text


def test_a_history_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(tmp_path / "nowhere" / "history", capsys)
    assert "No such file or directory; give a path that can be written" in line
    assert "Is a directory" in refusal(tmp_path, capsys)


def test_a_good_one_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused then is the next thing that is wrong; the file is as it was."""
    path = tmp_path / "history"
    save(path, [OldSpell((1, 2, 3, 4), 5, True)])
    before = path.read_bytes()
    assert "there is no host tier" in refusal(path, capsys)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cachepawl-policy-history", ""], "--cachepawl-policy-history '': an empty path"),
        (["--cachepawl-trace", ""], "--cachepawl-trace '': an empty path"),
        (["--cachepawl-answer-interval", "1000000000"], "give 1 to 1048576 tokens"),
        (["--cachepawl-policy", "mru"], "no such policy; give one of lru, joint"),
    ],
)
def test_flags_out_of_range_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        options_of(split_flags(words)[0])
