"""All files or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachepawl.errors import OutputError
from cachepawl.offline.output import write_files


def test_writes_and_replaces(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    assert write_files(folder, {"a": "1", "b": "ä\n"}) == [folder / "a", folder / "b"]
    write_files(folder, {"a": "2"})
    assert (folder / "a").read_text() == "2"
    assert (folder / "b").read_bytes() == "ä\n".encode()
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_files(tmp_path, {"a": "1"})
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_in_the_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old")
    with pytest.raises(OutputError, match="b: is a directory; nothing was written"):
        write_files(tmp_path, {"a": "new", "b": "new"})
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        write_files(tmp_path / "file", {"a": "1"})
    with pytest.raises(OutputError, match="null byte"):
        write_files(Path("a\0b"), {"a": "1"})


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files stands in for the disk: the kernel refuses the write.
    code = (
        "import resource, signal, pathlib, sys\n"
        "from cachepawl.errors import OutputError\n"
        "from cachepawl.offline.output import write_files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_files(pathlib.Path(sys.argv[1]), {'a': 'x', 'b': 'x' * 100_000})\n"
        "except OutputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "File too large; nothing was written" in done.stdout
    assert list((tmp_path / "out").iterdir()) == []
