"""Compiling kernels for GPUs that are not here, and reading what came out."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CUDA = [GPUTarget("cuda", arch, 32) for arch in (80, 90, 100)]
HIP = [GPUTarget("hip", "gfx942", 64)]
ALIGNED = [["tt.divisibility", 16]]
"""What the JIT states of a pointer or an integer that is a multiple of 16."""


class Case(NamedTuple):
    """A kernel as a launcher starts it."""

    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    aligned: tuple[str, ...]
    table_columns: int | None = None
    """Where accesses must be 16 bytes wide: how many numbers a program reads of its table."""
    scaled: str = ""
    """`loads` or `stores`: which side has codes of one byte and a scale for a block of them."""


class Compiled(NamedTuple):
    """What matters of a compiled kernel."""

    shared: int
    stack: int
    """Bytes of local memory a thread: what did not fit its registers."""
    loads: Counter[str]
    stores: Counter[str]
    """Global accesses by their instruction, wide and narrow."""
    registers: int


def compile_for(case: Case, target: GPUTarget, folder: Path) -> Compiled:
    """Compile `case` for `target`; `folder` takes the binary that the tools read."""
    names = case.kernel.arg_names
    source = ASTSource(
        fn=case.kernel,
        signature={
            name: "constexpr" if name in case.constants else case.types[name] for name in names
        },
        constexprs={(names.index(name),): value for name, value in case.constants.items()},
        attrs={(names.index(name),): ALIGNED for name in case.aligned},
    )
    built = triton.compile(source, target=target, options={"num_warps": 4})
    if target.backend == "hip":
        return _read_hip(built)
    return _read_cuda(built, folder)


def _read_cuda(built: Any, folder: Path) -> Compiled:
    binary = folder / "kernel.cubin"
    binary.write_bytes(built.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    done = subprocess.run(
        [str(tool), "--dump-resource-usage", str(binary)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", done.stdout)
    assert found, done.stdout
    registers, stack, local = map(int, found.groups())
    ptx = built.asm["ptx"]
    return Compiled(
        shared=built.metadata.shared,
        stack=stack + local,
        loads=Counter(re.findall(r"ld\.global[\w.:]*", ptx)),
        stores=Counter(re.findall(r"st\.global[\w.:]*", ptx)),
        registers=registers,
    )


def _read_hip(built: Any) -> Compiled:
    text = built.asm["amdgcn"]
    spilled = {
        kind: int(count) for kind, count in re.findall(r"\.(sgpr|vgpr)_spill_count:\s+(\d+)", text)
    }
    scratch = re.search(r"\.private_segment_fixed_size:\s+(\d+)", text)
    registers = re.search(r"\.vgpr_count:\s+(\d+)", text)
    assert set(spilled) == {"sgpr", "vgpr"}
    assert scratch
    assert registers
    assert built.asm["hsaco"]
    return Compiled(
        shared=built.metadata.shared,
        stack=sum(spilled.values()) + int(scratch[1]),
        loads=Counter(re.findall(r"(?:global|buffer|flat)_load_\w+", text)),
        stores=Counter(re.findall(r"(?:global|buffer|flat)_store_\w+", text)),
        registers=int(registers[1]),
    )
