"""Triton kernels for the arena and their torch references.

One folder an op: `kernel` runs on the device, `reference` says the same in plain torch, `launch`
checks the arguments on the host, builds the kernel's table and starts it.  See docs/kernels.md.
"""

from cachepawl_kernels.copy.launch import copy_extents
from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.fill.launch import poison_extents, zero_extents
from cachepawl_kernels.fork.launch import fork_states, fork_states_at
from cachepawl_kernels.fork.layout import Format, Part, StateLayout
from cachepawl_kernels.rows.launch import release_rows
from cachepawl_kernels.slots.launch import copy_slots, zero_slots
from cachepawl_kernels.tokens.batch import RowRuns
from cachepawl_kernels.tokens.launch import write_token_ids
from cachepawl_kernels.transfer.launch import gather, scatter, transfer
from cachepawl_kernels.transfer.layout import UnitLayout

__all__ = [
    "Format",
    "KernelArgumentError",
    "Part",
    "RowRuns",
    "StateLayout",
    "UnitLayout",
    "copy_extents",
    "copy_slots",
    "fork_states",
    "fork_states_at",
    "gather",
    "poison_extents",
    "release_rows",
    "scatter",
    "transfer",
    "write_token_ids",
    "zero_extents",
    "zero_slots",
]
