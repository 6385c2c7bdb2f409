"""What a machine can give, read from trees of files that look like one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiers import SHAPES

from cachepawl.errors import ConfigError
from cachepawl.offload import host_budget
from cachepawl.offload.host_budget import (
    check_host_budget,
    host_geometry,
    parse_host_size,
    pinning_remedy,
    remote_memory,
)
from cachepawl.offload.host_memory import (
    UNLIMITED,
    allowed_nodes,
    limits,
    lock_limit,
    node_of_gpu,
    numa_nodes,
)
from cachepawl.pool.geometry import Geometry

GIB = 2**30
MEMINFO = "MemTotal: 67108864 kB\nMemFree: 1048576 kB\nMemAvailable: 33554432 kB\n"
"""64 GiB, of which 32 are available."""


def write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def node(number: int, total_gib: int, free_gib: int, cpus: str) -> dict[str, object]:
    folder = f"sys/devices/system/node/node{number}"
    kib = {"MemTotal": total_gib << 20, "MemFree": free_gib << 20, "Inactive(file)": 1 << 20}
    lines = [f"Node {number} {name}: {value} kB" for name, value in kib.items()]
    return {f"{folder}/meminfo": "\n".join(lines), f"{folder}/cpulist": cpus}


def free(root: Path) -> dict[str, int]:
    return {limit.name.split(" (")[0]: limit.free for limit in limits(root)}


def test_nothing_to_read_limits_nothing(tmp_path: Path) -> None:
    assert limits(tmp_path) == []
    assert numa_nodes(tmp_path) == []
    assert allowed_nodes(tmp_path) is None
    check_host_budget(10**18, root=tmp_path)


def test_available_memory(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert free(tmp_path) == {"available memory": 32 * GIB}
    check_host_budget(30 * GIB, root=tmp_path)
    with pytest.raises(ConfigError) as told:
        check_host_budget(30 * GIB + 1, root=tmp_path)
    assert str(told.value) == (
        f"a host tier of {30 * GIB + 1} bytes: available memory (MemAvailable) leaves "
        f"{32 * GIB} bytes, of which {2 * GIB} stay free; give --cachepawl-host-gb 30.000000 or "
        f"less, or free memory"
    )


def test_several_ranks_share_a_machine(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO})
    check_host_budget(15 * GIB, tiers=2, root=tmp_path)
    with pytest.raises(ConfigError, match=r"on each of 2 ranks, .* --cachepawl-host-gb 15.0"):
        check_host_budget(16 * GIB, tiers=2, root=tmp_path)


def test_a_machine_that_is_full(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemAvailable: 1024 kB"})
    with pytest.raises(ConfigError, match="; drop --cachepawl-host-gb, or free memory"):
        check_host_budget(1, root=tmp_path)


def test_control_groups_of_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/pod/box",
            "sys/fs/cgroup/pod/box/memory.max": "max",
            "sys/fs/cgroup/pod/box/memory.current": 1 * GIB,
            "sys/fs/cgroup/pod/memory.max": 8 * GIB,
            "sys/fs/cgroup/pod/memory.current": 5 * GIB,
            "sys/fs/cgroup/pod/memory.stat": f"anon 7\ninactive_file {2 * GIB}",
        },
    )
    with pytest.raises(
        ConfigError,
        match=rf"control group's limit of {8 * GIB} bytes \(.*/pod/memory.max\) leaves {5 * GIB} ",
    ):
        check_host_budget(4 * GIB, root=tmp_path)
    check_host_budget(3 * GIB, root=tmp_path)


def test_a_container_sees_its_group_at_the_mount(tmp_path: Path) -> None:
    """The path outside of the container is not there."""
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/0123",
            "sys/fs/cgroup/memory.max": 4 * GIB,
            "sys/fs/cgroup/memory.current": 5 * GIB,
        },
    )
    assert [limit.free for limit in limits(tmp_path)] == [0]


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/job\n0::/",
            f"{folder}/job/memory.limit_in_bytes": 6 * GIB,
            f"{folder}/job/memory.usage_in_bytes": 2 * GIB,
            f"{folder}/job/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}",
            f"{folder}/memory.limit_in_bytes": 9223372036854771712,
            f"{folder}/memory.usage_in_bytes": 50 * GIB,
        },
    )
    assert [limit.free for limit in limits(tmp_path)] == [5 * GIB]


def test_nodes_that_a_process_may_not_use(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/status": "Name:\tx\nMems_allowed_list:\t0,2-3",
            **node(0, 16, 8, "0-3"),
            **node(1, 48, 40, "4-7"),
        },
    )
    assert allowed_nodes(tmp_path) == {0, 2, 3}
    with pytest.raises(ConfigError, match=rf"NUMA nodes .* \(0\) leaves {9 * GIB} bytes"):
        check_host_budget(8 * GIB, root=tmp_path)
    check_host_budget(7 * GIB, root=tmp_path)


def test_memory_beside_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**node(0, 16, 8, "0-3"), **node(1, 16, 8, "4-7,12")})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 12})
    assert remote_memory(9 * GIB, 1, tmp_path) is None
    assert remote_memory(99 * GIB, None, tmp_path) is None
    assert remote_memory(99 * GIB, 7, tmp_path) is None
    told = remote_memory(9 * GIB + 1, 1, tmp_path)
    assert told is not None
    assert f"more than the {9 * GIB} bytes that are free on NUMA node 1" in told
    assert "--cachepawl-host-gb 9.000000 or less" in told
    assert remote_memory(3 * GIB, 1, tmp_path, tiers=3) is None
    told = remote_memory(3 * GIB + 1, 1, tmp_path, tiers=3)
    assert told is not None
    assert f"of {3 * GIB + 1} bytes for each of 3 ranks is more than the {9 * GIB} bytes" in told
    assert "--cachepawl-host-gb 3.000000 or less" in told
    told = remote_memory(1, 0, tmp_path)
    assert told is not None
    assert "runs on CPUs 5, 12, none of them on NUMA node 0" in told
    assert "--numa-node" in told


def test_the_node_of_a_gpu(tmp_path: Path) -> None:
    write(tmp_path, {"sys/bus/pci/devices/0000:3b:00.0/numa_node": 1})
    write(tmp_path, {"sys/bus/pci/devices/0000:5e:00.0/numa_node": -1})
    assert node_of_gpu("0000:3B:00.0", tmp_path) == 1
    assert node_of_gpu("0000:5e:00.0", tmp_path) is None
    assert node_of_gpu("0000:00:00.0", tmp_path) is None


@pytest.mark.parametrize("text", ["0", "-1.5", "nan", "inf", "x", "0x", "infx", "two", "", "1.5y"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--cachepawl-host-gb {text}: give a positive number"):
        parse_host_size(text)


def test_bytes_of_a_flag() -> None:
    assert parse_host_size("1.5").of(7) == 3 * 2**29
    assert parse_host_size("2.5x").of(100) == 250


def test_a_tier_below_two_frames() -> None:
    size = SHAPES.frame_bytes
    assert host_geometry(SHAPES, 2 * size).num_frames == 2
    with pytest.raises(ConfigError, match=rf"a host tier of {2 * size - 1} bytes; .* {size} bytes"):
        host_geometry(SHAPES, 2 * size - 1)


def test_the_size_advised_for_two_frames_is_enough() -> None:
    shapes = Geometry(SHAPES.kv, None, 1000, frame_pages=7)
    with pytest.raises(ConfigError) as told:
        host_geometry(shapes, 1)
    advised = str(told.value).split("--cachepawl-host-gb ")[1].split(" ")[0]
    assert host_geometry(shapes, parse_host_size(advised).of(0)).usable_frames == 1


def test_what_may_help_with_pinning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_budget, "lock_limit", lambda: 65536)
    assert "may lock 65536 bytes (ulimit -l)" in pinning_remedy(65537)
    monkeypatch.setattr(host_budget, "lock_limit", lambda: UNLIMITED)
    assert "CAP_IPC_LOCK" in pinning_remedy(65537)


def test_this_machine() -> None:
    assert any("MemAvailable" in limit.name and limit.free > 0 for limit in limits())
    assert lock_limit() > 0
    check_host_budget(1 << 20, headroom=0)
    with pytest.raises(ConfigError):
        check_host_budget(1 << 50)
