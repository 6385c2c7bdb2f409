"""Whatever happens to a trace's bytes, it is read or refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_samples import BLOCK, Asked, lines_of

from cachepawl.errors import InputError
from cachepawl.offline.traces import TraceRequest, open_trace

SAMPLE = [Asked(i * 10, [1, 2, i + 3], 1, i, i % 2) for i in range(4)]
PACK = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}
VALUES = [*b'null -1 1e999 [] {} " , 99999999999999999999 0.5 true NaN'.split(), b"\n"]
BITES = st.one_of(st.binary(max_size=6), st.sampled_from(VALUES))
CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 9), BITES), min_size=1, max_size=4
)


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("format", BLOCK)
@settings(max_examples=60)
@given(changes=CHANGES, late=st.booleans(), skip=st.booleans(), named=st.booleans())
def test_any_bytes(format, pack, changes, late, skip, named, tmp_path_factory) -> None:
    """Changed before packing (`late` false) or after."""
    raw = "\n".join(lines_of(format, SAMPLE)).encode()
    raw = PACK[pack](raw) if late else raw
    for at, cut, bite in changes:
        at %= len(raw) + 1
        raw = raw[:at] + bite + raw[at + cut :]
    path: Path = tmp_path_factory.mktemp("traces") / "trace"
    path.write_bytes(raw if late else PACK[pack](raw))
    found, refusal = read(path, format if named else "auto", skip)
    if refusal:
        assert str(path) in refusal
        assert "\n" not in refusal
        return
    assert found
    assert [r.at for r in found] == sorted(r.at for r in found)
    assert all(r.key.tokens and len(r.key.tokens) % 8 == 0 for r in found)


def read(path: Path, format: str, skip: bool) -> tuple[list[TraceRequest], str]:
    """The requests, and why there are none."""
    try:
        return list(open_trace(path, format, skip_bad_lines=skip).requests()), ""
    except InputError as error:
        return [], str(error)
