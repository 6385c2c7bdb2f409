"""Traces of requests, one file a format, all as a stream of `TraceRequest`."""

from __future__ import annotations

from cachepawl.offline.traces.claude_code import Sharing
from cachepawl.offline.traces.formats import Options
from cachepawl.offline.traces.open import Trace, open_trace
from cachepawl.offline.traces.request import TraceRequest

__all__ = ["Options", "Sharing", "Trace", "TraceRequest", "open_trace"]
