"""Copying by the GPU's copy engines: batches of extents, pitched rows.  Needs torch.

`cudaMemcpyBatchAsync` (CUDA 12.8 and later) submits any number of extents in one call, through
the `cuda.bindings` package.  Without either, extents are submitted one by one.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from cachepawl.offload.copier import TokenRows, TorchCopier
from cachepawl.offload.extents import Extents, Piece

try:
    from cuda.bindings import runtime as _bindings
except ImportError:
    _bindings = None

logger = logging.getLogger(__name__)

UNSUPPORTED = (34, 35, 36, 801)
"""cudaError: a stub library, a driver that is too old (twice), not supported here."""


class DmaCopier:
    """Copies on the current stream, which must not be the legacy default stream."""

    def __init__(self, device: torch.device, bindings: Any = _bindings) -> None:
        self._device = device
        self._cuda = bindings
        self._one_by_one = TorchCopier()
        self._batches = hasattr(bindings, "cudaMemcpyBatchAsync")
        if not self._batches:
            _say_once("cuda.bindings has no cudaMemcpyBatchAsync")

    @property
    def pitched(self) -> bool:
        """Whether `rows` can be used."""
        return self._cuda is not None

    def extents(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> None:
        if not extents.nbytes:
            return
        if self._batches:
            code = self._submit(dst, src, extents)
            if code == 0:
                return
            if code not in UNSUPPORTED:
                raise RuntimeError(f"cudaMemcpyBatchAsync: {self._explain(code)}")
            self._batches = False
            _say_once(f"cudaMemcpyBatchAsync: {self._explain(code)}")
        self._one_by_one.extents(dst, src, extents)

    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        """One pitched copy a piece: a row a token, at the stride of an entry on both sides."""
        assert self._cuda is not None, "rows without cuda.bindings"
        self._select_device()
        stream, kind = self._stream(), self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        for piece in pieces:
            (code,) = self._cuda.cudaMemcpy2DAsync(
                dst.data_ptr() + piece.target * rows.page_bytes + rows.base,
                rows.entry_bytes,
                src.data_ptr() + piece.source * rows.page_bytes + rows.base,
                rows.entry_bytes,
                rows.row_bytes,
                piece.pages * rows.page_tokens,
                kind,
                stream,
            )
            if int(code):
                raise RuntimeError(f"cudaMemcpy2DAsync: {self._explain(int(code))}")

    def _submit(self, dst: torch.Tensor, src: torch.Tensor, extents: Extents) -> int:
        """The call's error code; 0 when all extents were submitted."""
        self._select_device()
        to, came, count = dst.data_ptr(), src.data_ptr(), len(extents.nbytes)
        attributes = self._cuda.cudaMemcpyAttributes()
        # In the order of the stream.  With ANY a source may be read before what the stream
        # waits for has been computed.
        order = self._cuda.cudaMemcpySrcAccessOrder
        attributes.srcAccessOrder = order.cudaMemcpySrcAccessOrderStream
        # CUDA 12's bindings also return which copy failed.
        code, *_ = self._cuda.cudaMemcpyBatchAsync(
            [to + offset for offset in extents.target],
            [came + offset for offset in extents.source],
            extents.nbytes,
            count,
            [attributes],
            [0],
            1,
            self._stream(),
        )
        return int(code)

    def _select_device(self) -> None:
        # The bindings have a runtime of their own, with a current device of its own.
        self._cuda.cudaSetDevice(self._device.index or 0)

    def _stream(self) -> int:
        """The current stream's handle; the CPU, in tests, has none."""
        if self._device.type != "cuda":
            return 0
        return int(torch.cuda.current_stream(self._device).cuda_stream)

    def _explain(self, code: int) -> str:
        _, text = self._cuda.cudaGetErrorString(self._cuda.cudaError_t(code))
        return f"error {code}: {text.decode()}"


_said: set[str] = set()


def _say_once(why: str) -> None:
    if why not in _said:
        _said.add(why)
        logger.warning("cachepawl: extents are submitted one by one: %s", why)
