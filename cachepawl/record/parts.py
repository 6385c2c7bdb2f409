"""Files of a recording: FILE, FILE.1, FILE.2 and so on, plain or compressed by its suffix.

A new recording never touches files that are there: it goes on with the first free number.
What was flushed can be read whatever happens to the writer afterwards.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from pathlib import Path
from typing import Protocol

from cachepawl.errors import ConfigError

ZSTD_LEVEL = 3
GZIP_LEVEL = 6


def part_path(path: Path, number: int) -> Path:
    """The file of a part."""
    return path.with_name(f"{path.name}.{number}") if number else path


def check_folder(path: Path) -> None:
    """ConfigError when a recording named `path` could not be begun."""
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "is a directory; name a file")
        with contextlib.suppress(FileNotFoundError):
            path.lstat()
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"--cachepawl-trace {path}: {why}") from None


class Packer(Protocol):
    """A compressor of the standard kind."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self, mode: int = 0, /) -> bytes:
        return b""


def _packer(suffix: str) -> tuple[Packer, int, int]:
    """A compressor, and its modes for a flush and for the end."""
    if suffix == ".gz":
        return zlib.compressobj(GZIP_LEVEL, wbits=31), zlib.Z_SYNC_FLUSH, zlib.Z_FINISH
    if suffix == ".zst":
        import zstandard as zstd

        packer = zstd.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
        return packer, zstd.COMPRESSOBJ_FLUSH_BLOCK, zstd.COMPRESSOBJ_FLUSH_FINISH
    return _Plain(), 0, 0


class Part:
    """One file, written in order.  OSError when the disk does not take it."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._packer, self._flush, self._finish = _packer(suffix)
        self._waiting: list[bytes] = []
        self._raw = 0
        self.size = 0
        """Bytes in the file."""

    @property
    def unflushed(self) -> int:
        """Bytes of text that the file may not have yet."""
        return self._raw

    def write(self, text: str) -> None:
        """Nothing is in the file before the next flush."""
        raw = text.encode()
        self._waiting.append(self._packer.compress(raw))
        self._raw += len(raw)

    def flush(self) -> None:
        """Everything so far is in the file, and can be read from it."""
        if self._raw:
            self._put(self._packer.flush(self._flush))

    def close(self) -> None:
        """As `flush`, and the file is complete."""
        self._put(self._packer.flush(self._finish))
        os.close(self._fd)

    def _put(self, last: bytes) -> None:
        data = memoryview(b"".join([*self._waiting, last]))
        self._waiting, self._raw = [], 0
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            # Whole lines, and whole blocks of the compressor, or none of them.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)


def open_part(path: Path, number: int) -> tuple[Part, int]:
    """The first part from `number` on that is not there yet, and its number."""
    while True:
        try:
            return Part(part_path(path, number), path.suffix), number
        except FileExistsError:
            number += 1
