"""What this machine can give a host tier: memory, control groups, NUMA nodes, limits.  No torch.

Read from /proc and /sys under a root of the caller's choice, so that tests bring their own.
What cannot be read limits nothing: a machine without NUMA or control groups has no such files.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

UNLIMITED = 2**62
"""Bytes; a control group of version 1 without a limit says a number near 2^63."""


class Limit(NamedTuple):
    """Bytes that something still allows, and what that is."""

    free: int
    name: str
    remedy: str


class Node(NamedTuple):
    """One NUMA node, bytes and CPUs."""

    number: int
    total: int
    free: int
    cpus: frozenset[int]


class _Files(NamedTuple):
    """What a version of control groups calls the same things."""

    limit: str
    usage: str
    idle: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def limits(root: Path = Path("/")) -> list[Limit]:
    """Everything that bounds how many bytes this process may still use."""
    found = [*_machine(root), *_control_groups(root)]
    allowed = allowed_nodes(root)
    nodes = [node for node in numa_nodes(root) if allowed is None or node.number in allowed]
    if allowed is not None and nodes and len(nodes) < len(numa_nodes(root)):
        numbers = ", ".join(str(node.number) for node in nodes)
        found.append(
            Limit(
                sum(node.free for node in nodes),
                f"the NUMA nodes that this process may use ({numbers})",
                "allow it more nodes (numactl --membind, cpuset.mems)",
            )
        )
    return found


def _machine(root: Path) -> Iterator[Limit]:
    kib = _table(root / "proc/meminfo")
    if "MemAvailable" in kib:
        yield Limit(kib["MemAvailable"] << 10, "available memory (MemAvailable)", "free memory")


def _control_groups(root: Path) -> Iterator[Limit]:
    """The groups of this process and all around them, of either files."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files, mount = _VERSION_2, root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            files, mount = _VERSION_1, root / "sys/fs/cgroup/memory"
        else:
            continue
        for folder in _upwards(mount, path):
            limit = _number(folder / files.limit)
            if limit is None or limit >= UNLIMITED:
                continue
            # File pages that were not used lately go first when the group is full.
            idle = _table(folder / "memory.stat").get(files.idle, 0)
            used = max(0, (_number(folder / files.usage) or 0) - idle)
            yield Limit(
                max(0, limit - used),
                f"the control group's limit of {limit} bytes ({folder / files.limit})",
                "raise the container's memory limit",
            )


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group and its parents up to the mount; in a container the path may not be there."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:count])


def numa_nodes(root: Path = Path("/")) -> list[Node]:
    """All nodes that have memory, in order; empty where the kernel shows none."""
    nodes = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        # "Node 0 MemTotal:       18835232 kB"
        kib = _table(folder / "meminfo", skip=2)
        if kib.get("MemTotal"):
            # File pages are taken back before memory of another node is used.
            free = kib.get("MemFree", 0) + kib.get("Inactive(file)", 0)
            nodes.append(
                Node(
                    int(folder.name[4:]),
                    kib["MemTotal"] << 10,
                    free << 10,
                    _set(_text(folder / "cpulist")),
                )
            )
    return sorted(nodes)


def allowed_nodes(root: Path = Path("/")) -> frozenset[int] | None:
    """NUMA nodes whose memory this process may use; None if nothing says so."""
    for line in _text(root / "proc/self/status").splitlines():
        if line.startswith("Mems_allowed_list:"):
            return _set(line.split(":", 1)[1])
    return None


def node_of_gpu(pci_address: str, root: Path = Path("/")) -> int | None:
    """The NUMA node that a GPU hangs on, e.g. of `0000:3b:00.0`; None if unknown."""
    node = _number(root / "sys/bus/pci/devices" / pci_address.lower() / "numa_node")
    return None if node is None or node < 0 else node


def lock_limit() -> int:
    """Bytes that this process may lock (RLIMIT_MEMLOCK)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """The one number of a file; UNLIMITED for `max`."""
    text = _text(path).strip()
    if text == "max":
        return UNLIMITED
    try:
        return int(text)
    except ValueError:
        return None


def _table(path: Path, skip: int = 0) -> dict[str, int]:
    """`name: number ...` or `name number` a line, the first `skip` words left out."""
    found = {}
    for line in _text(path).splitlines():
        words = line.split()[skip:]
        if len(words) >= 2 and words[1].isdigit():
            found[words[0].rstrip(":")] = int(words[1])
    return found


def _set(text: str) -> frozenset[int]:
    """`0-3,8` as numbers."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
