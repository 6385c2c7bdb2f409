"""What is installed here and which devices it sees."""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from typing import Any

from cachepawl import __version__
from cachepawl.offline.document import Document, Report, Table, Text

PACKAGES = ("torch", "triton", "sglang")


def info_report() -> Report:
    """Versions, and the devices that torch sees.  Imports torch only where it is installed."""
    versions: dict[str, str | None] = {
        "cachepawl": __version__,
        "python": platform.python_version(),
    }
    versions |= {name: _version(name) for name in PACKAGES}
    devices, why = _devices(versions["torch"])
    data = {"versions": versions, "platform": platform.platform(), "devices": devices,
            "no_devices": why}  # fmt: skip
    rows = [[name, version or "not installed"] for name, version in versions.items()]
    found = Text(f"No device: {why}.") if why else _device_table(devices)
    lead = f"cachepawl {__version__} on {data['platform']}"
    blocks = [Table(("package", "version"), rows), found]
    return Report(data, Document("cachepawl info", lead, blocks))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices(torch_version: str | None) -> tuple[list[dict[str, Any]], str]:
    """Devices, or none and the reason."""
    if torch_version is None:
        return [], "torch is not installed"
    try:
        torch = import_module("torch")
        if not torch.cuda.is_available():
            return [], "torch sees no GPU"
        return [_device(torch.cuda, i) for i in range(torch.cuda.device_count())], ""
    except Exception as error:
        # A broken driver or a half-installed torch is what this command is asked about.
        return [], f"torch failed: {type(error).__name__}: {str(error).splitlines()[:1]}"


def _device(cuda: Any, index: int) -> dict[str, Any]:
    free, total = cuda.mem_get_info(index)
    major, minor = cuda.get_device_capability(index)
    return {
        "index": index,
        "name": cuda.get_device_name(index),
        "compute_capability": f"{major}.{minor}",
        "total_bytes": total,
        "free_bytes": free,
    }


def _device_table(devices: list[dict[str, Any]]) -> Table:
    columns = ("device", "name", "compute capability", "VRAM bytes", "free bytes")
    return Table(columns, [list(device.values()) for device in devices])
