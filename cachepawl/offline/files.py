"""Reading files that people hand in: plain, gzip or zstd, told apart by their first bytes.

Whatever is wrong is an InputError of one line that names the file.  Memory is bounded by
the longest line, not by the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cachepawl.errors import InputError, TruncatedInput

CHUNK = 1 << 12
"""Bytes read at once: few, as compressed ones may grow a thousandfold and more."""
MOST_BYTES = 256 << 20
"""Of a file that is read whole."""
MOST_LINE = 256 << 20
"""Of one line."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip_decoder() -> _Decoder:
    return zlib.decompressobj(wbits=31)


def _zstd_decoder() -> _Decoder:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


_MAGIC: dict[bytes, tuple[str, Callable[[], _Decoder]]] = {
    b"\x1f\x8b": ("gzip", _gzip_decoder),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd_decoder),
}


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The whole file, decompressed, as UTF-8.  InputError for all that keeps it from that."""
    parts, size = [], 0
    for part in read_chunks(path):
        size += len(part)
        if size > most_bytes:
            raise InputError(f"{path}: more than {most_bytes} bytes; is this the right file?")
        parts.append(part)
    return text_of(b"".join(parts), str(path))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines without their ends; blank lines are left out.

    TruncatedInput, after the last whole line, for a compressed file that stops early.
    """
    for number, raw in raw_lines(path):
        yield number, text_of(raw, f"{path}:{number}")


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """As `numbered_lines`, not decoded: for readers that survive a line that is no text."""
    number, kept, size = 0, list[bytes](), 0
    for part in read_chunks(path):
        *ended, rest = part.split(b"\n")
        for line in ended:
            number += 1
            kept.append(line)
            yield from _line(number, b"".join(kept))
            kept, size = [], 0
        kept.append(rest)
        size += len(rest)
        if size > MOST_LINE:
            raise InputError(f"{path}:{number + 1}: a line of more than {MOST_LINE} bytes")
    yield from _line(number + 1, b"".join(kept))


def _line(number: int, raw: bytes) -> Iterator[tuple[int, bytes]]:
    if raw.strip():
        yield number, raw.rstrip(b"\r")


def read_chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, decompressed, in parts.

    InputError when it cannot be opened or read or is damaged, TruncatedInput after the last
    good part when it is compressed and ends too early.
    """
    try:
        with path.open("rb") as file:
            first = file.read(CHUNK)
            for magic, (name, make) in _MAGIC.items():
                if first.startswith(magic):
                    rest = iter(lambda: file.read(CHUNK), b"")
                    yield from _unpacked(path, name, make, first, rest)
                    return
            while first:
                yield first
                first = file.read(1 << 18)
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory; name a file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        # A path with a zero byte; errors of ours pass.
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r}: {error}") from None


def _unpacked(
    path: Path, name: str, make: Callable[[], _Decoder], first: bytes, rest: Iterator[bytes]
) -> Iterator[bytes]:
    """The members or frames of a compressed file, one after the other."""
    decoder, begun = make(), False
    data: bytes | None = first
    while data is not None:
        begun = begun or bool(data)
        try:
            out = decoder.decompress(data)
        except Exception as error:
            raise InputError(f"{path}: damaged {name} data ({error})") from None
        if out:
            yield out
        if decoder.eof:
            data = decoder.unused_data or next(rest, None)
            decoder, begun = make(), False
        else:
            data = next(rest, None)
    if begun:
        raise TruncatedInput(f"{path}: the {name} data ends too early; copy the file again")


def text_of(raw: bytes, where: str) -> str:
    """The bytes as UTF-8; InputError names `where` they are from."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not UTF-8 at byte {error.start}; is this a text file?"
        ) from None
