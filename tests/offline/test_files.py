"""Readers: plain, gzip and zstd; every damage is one line that names the file."""

from __future__ import annotations

import contextlib
import gzip
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.errors import InputError, TruncatedInput
from cachepawl.offline.files import numbered_lines, read_chunks, read_text

PACK = {
    "plain": lambda raw: raw,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "gzip members": lambda raw: (
        gzip.compress(raw[: len(raw) // 2]) + gzip.compress(raw[len(raw) // 2 :])
    ),
    "zstd frames": lambda raw: (
        zstandard.compress(raw[: len(raw) // 2]) + zstandard.compress(raw[len(raw) // 2 :])
    ),
}


@pytest.mark.parametrize("pack", PACK)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_what_was_written_is_read(pack: str, text: str, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(PACK[pack](text.encode()))
    assert read_text(path) == text
    lines = list(numbered_lines(path))
    assert lines == [(n, x) for n, x in enumerate(text.split("\n"), 1) if x.encode().strip()]


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_cut_file_gives_its_whole_lines_then_says_so(pack: str, tmp_path: Path) -> None:
    raw = "\n".join(f"{i * 7919 % 10007}" for i in range(20_000)).encode()
    path = tmp_path / "cut"
    path.write_bytes(PACK[pack](raw)[:-10])
    with pytest.raises(TruncatedInput, match=r"cut: the (gzip|zstd) data ends too early"):
        list(numbered_lines(path))
    with pytest.raises(TruncatedInput):
        read_text(path)


def test_lines_before_the_cut_are_given(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    raw = os.urandom(300_000).hex().encode()
    packed = gzip.compress(b"\n".join(raw[i : i + 60] for i in range(0, len(raw), 60)))
    path.write_bytes(packed[: len(packed) // 2])
    seen = []
    with pytest.raises(TruncatedInput):
        seen.extend(line for _, line in numbered_lines(path))
    assert len(seen) > 1000
    assert all(len(line) == 60 for line in seen)


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_harmless(pack: str, at: int, bit: int, tmp_path_factory):
    raw = bytearray(PACK[pack](b'{"a": 1}\n' * 50))
    raw[at % len(raw)] ^= 1 << bit
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(raw)
    with contextlib.suppress(InputError):
        read_text(path)


def test_bad_places(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.write_text("x")
    locked.chmod(0)
    cases = {
        tmp_path: "is a directory",
        tmp_path / "none": "No such file",
        Path("a\0b"): "null byte",
    }
    if os.geteuid():  # the superuser may read all
        cases[locked] = "Permission denied"
    for path, words in cases.items():
        with pytest.raises(InputError, match=words):
            list(read_chunks(path))


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"good\nbad \xe9\n")
    with pytest.raises(InputError, match="latin:2: not UTF-8 at byte 4"):
        list(numbered_lines(path))


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(zstandard.compress(bytes(50 << 20)))
    with pytest.raises(InputError, match="more than 1000000 bytes"):
        read_text(path, 1_000_000)
