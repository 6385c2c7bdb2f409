"""The garbage collector rests while SGLang is imported, and is as it was when the server serves."""

from __future__ import annotations

import psutil
import pytest
from observed import Observed

RESTING, BACK = "(2000000, 10, 10) False", "(700, 10, 10) True"


@pytest.mark.xdist_group("observed")
def test_thresholds_are_back_in_every_process(observed: Observed) -> None:
    """In the parent, the scheduler and the detokenizer: first rare, then as Python has them."""
    parent = psutil.Process(observed.server.process.pid)
    names = {child.pid: child.name() for child in parent.children()}
    told = {int(file.name): file.read_text().splitlines() for file in observed.collector.iterdir()}
    serving = [pid for pid, name in names.items() if name.startswith("sglang::")]
    assert sorted(names[pid] for pid in serving) == ["sglang::detokenizer", "sglang::scheduler"]
    for pid in (parent.pid, *serving):
        assert told[pid][-2:] == [RESTING, BACK], (names.get(pid, "parent"), told)
