"""What Triton's interpreter lets pass and a GPU would not forgive, caught while it interprets.

Inside `guarded()` every launch is checked:

- a load or store, masked lanes left out, lies inside a tensor that the launch was given;
- its address is a multiple of its element's size;
- no byte is stored twice, and none is read by one program and stored by another;
- integer arithmetic does not wrap;
- programs run in a shuffled order, since a GPU promises none;
- there are no atomics, which these checks would not see.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from triton.runtime import interpreter

Addresses = npt.NDArray[np.int64]
Builder = interpreter.InterpreterBuilder


class GuardError(AssertionError):
    """An access or an operation that would be wrong on a GPU."""


class Guard:
    """The checks of one launch; `launches` counts how many there were."""

    def __init__(self) -> None:
        self.launches = 0
        self._begin_launch()

    def _begin_launch(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self._loads: list[tuple[Addresses, int]] = []
        self._stores: list[tuple[Addresses, int]] = []
        self._order: list[int] | None = None
        self._program = 0

    # -- a launch -------------------------------------------------------------------

    def run(self, call: Callable[..., Any], executor: Any, *args: Any, **kwargs: Any) -> None:
        self._begin_launch()
        self.launches += 1
        for value in (*args, *kwargs.values()):
            if torch.is_tensor(value):
                self._spans.append(span_of(value))
        call(executor, *args, **kwargs)
        self._check_races()

    def place(self, call: Callable[..., Any], builder: Any, x: int, y: int, z: int) -> None:
        """Run another program than the one whose turn it would be."""
        _, b, c = sizes = tuple(int(size) for size in builder.grid_dim)
        count = int(np.prod(sizes))
        if self._order is None:
            self._order = random.Random(self.launches).sample(range(count), count)
        self._program = self._order[(x * b + y) * c + z]
        call(builder, self._program // (b * c), self._program // c % b, self._program % c)

    # -- an access ------------------------------------------------------------------

    def load(self, call: Callable[..., Any], builder: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        self._loads.append((self._checked("load", ptrs, mask), self._program))
        return call(builder, ptrs, mask, *rest)

    def store(
        self, call: Callable[..., Any], builder: Any, ptrs: Any, value: Any, mask: Any, *rest: Any
    ) -> Any:
        self._stores.append((self._checked("store", ptrs, mask), self._program))
        return call(builder, ptrs, value, mask, *rest)

    def _checked(self, what: str, ptrs: Any, mask: Any) -> Addresses:
        """The addresses of all bytes of an access."""
        size = ptrs.get_element_ty().primitive_bitwidth // 8
        lanes = np.broadcast_to(mask.data, ptrs.data.shape)
        first = ptrs.data.astype(np.int64)[lanes]
        if (first % size).any():
            raise GuardError(f"misaligned {what} of {size} bytes")
        inside = np.zeros(first.shape, bool)
        for begin, end in self._spans:
            inside |= (first >= begin) & (first + size <= end)
        if not inside.all():
            raise GuardError(f"{what} outside of every argument, {int((~inside).sum())} lanes")
        return (first[:, None] + np.arange(size)).ravel()

    def _check_races(self) -> None:
        stored, writer = _flat(self._stores)
        order = stored.argsort(kind="stable")
        stored, writer = stored[order], writer[order]
        if (stored[1:] == stored[:-1]).any():
            raise GuardError("a byte is stored twice")
        loaded, reader = _flat(self._loads)
        at = np.searchsorted(stored, loaded).clip(max=max(len(stored) - 1, 0))
        if len(stored) and ((stored[at] == loaded) & (writer[at] != reader)).any():
            raise GuardError("a byte is loaded by one program and stored by another")


def span_of(tensor: torch.Tensor) -> tuple[int, int]:
    """First address, and the one after the last element's."""
    if tensor.numel() == 0:
        return tensor.data_ptr(), tensor.data_ptr()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _flat(log: list[tuple[Addresses, int]]) -> tuple[Addresses, Addresses]:
    if not log:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    programs = [np.full(addresses.shape, program) for addresses, program in log]
    return np.concatenate([addresses for addresses, _ in log]), np.concatenate(programs)


def _no_atomics(*_: Any, **__: Any) -> None:
    raise GuardError("an atomic operation")


@contextmanager
def guarded() -> Iterator[Guard]:
    """Check every launch inside."""
    guard = Guard()
    with ExitStack() as stack:

        def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
            inner = getattr(owner, name)

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                return around(inner, *args, **kwargs)

            stack.enter_context(patch.object(owner, name, wrapped))

        wrap(interpreter.GridExecutor, "__call__", guard.run)
        wrap(Builder, "set_grid_idx", guard.place)
        wrap(Builder, "create_masked_load", guard.load)
        wrap(Builder, "create_masked_store", guard.store)
        for name in ("create_atomic_cas", "create_atomic_rmw"):
            stack.enter_context(patch.object(Builder, name, _no_atomics))
        checked = interpreter.InterpreterOptions(debug=True)
        stack.enter_context(patch.object(interpreter.interpreter_builder, "options", checked))
        yield guard
