"""Traces of requests, one file a format, all as a stream of `TraceRequest`."""

from __future__ import annotations

from cachepawl.offline.traces.open import Trace, open_trace
from cachepawl.offline.traces.request import TraceRequest

__all__ = ["Trace", "TraceRequest", "open_trace"]
