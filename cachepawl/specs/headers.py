"""Weight bytes of a checkpoint, from its safetensors headers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from cachepawl.errors import ConfigError


def weight_bytes(folder: Path) -> int | None:
    """Bytes of all tensors in `*.safetensors` of a folder; None when there are none.

    ConfigError for a file whose header cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    return sum(_tensor_bytes(file) for file in files) if files else None


def _tensor_bytes(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
    except (OSError, struct.error, ValueError) as error:
        raise ConfigError(f"{file}: not a safetensors file ({error}); download it again") from None
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return max(ends, default=0)
