"""Writing results: all files of a command or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cachepawl.errors import OutputError


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each text to a file of that name in `folder`, which is made if need be.

    Every file is written whole beside its place first, then moved there.  OutputError,
    and no file of this call left, when one cannot be written.
    """
    waiting: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            target = folder / name
            if target.is_dir():
                raise IsADirectoryError(21, "is a directory", str(target))
            waiting[target] = _write_beside(folder, name, text)
        for target in list(waiting):
            os.replace(waiting.pop(target), target)
    except OSError as error:
        where = error.filename or folder
        raise OutputError(f"{where}: {error.strerror or error}; nothing was written") from None
    except ValueError as error:
        raise OutputError(f"{str(folder)!r}: {error}; nothing was written") from None
    finally:
        for temporary in waiting.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
    return [folder / name for name in texts]


def _write_beside(folder: Path, name: str, text: str) -> Path:
    handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(folder / name)
        raise
    return Path(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
