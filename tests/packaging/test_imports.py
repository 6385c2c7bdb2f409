"""Who may be imported by what: the offline half without torch, and nobody's name taken."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH_FREE = [
    "cachepawl", "cachepawl.types", "cachepawl.config", "cachepawl.cache", "cachepawl.tree",
    "cachepawl.policy.lru", "cachepawl.pool.frames", "cachepawl.pool.references",
    "cachepawl.pool.geometry", "cachepawl.pool.capacity", "cachepawl.tree.misses",
    "cachepawl.observe.frame_map", "cachepawl.launch_server", "cachepawl.specs",
    "cachepawl.record.writer", "cachepawl.record.sender", "cachepawl.offline.recorded.report",
    "cachepawl.specs.presets", "cachepawl.specs.__main__", "cachepawl.pool.from_spec",
]  # fmt: skip


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", TORCH_FREE)
def test_imports_without_torch_and_sglang(module: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'sglang', 'triton', 'numpy'): sys.modules[name] = None\n"
        f"import {module}\n"
    )
    run(code, tmp_path)


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_hugging_faces_kernels_is_not_shadowed(where: str, tmp_path: Path) -> None:
    folder = ROOT if where == "root" else tmp_path
    assert run("import kernels; print(hasattr(kernels, 'get_kernel'))", folder) == "True"


def test_code_folders_are_not_packages() -> None:
    for folder in ("kernels", "launch", "patches", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_plugins_are_registered() -> None:
    found = importlib.metadata.entry_points(group="sglang.srt.plugins")["cachepawl"]
    assert found.value == "cachepawl_launch.plugin:register"
    platform = importlib.metadata.entry_points(group="sglang.srt.platforms")["cachepawl_cpu"]
    assert platform.value == "cachepawl_launch.cpu.platform:activate"


def test_the_wheel_holds_four_packages_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install hatchling")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "cachepawl/offline/page.html.j2" in names
    tops = {name.split("/")[0] for name in names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    assert packages == {"cachepawl", "cachepawl_kernels", "cachepawl_launch", "cachepawl_patches"}
