"""What a server said about a request, and what its recording explains, are one."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_load import recorded

from cachepawl.errors import InputError
from cachepawl.offline.recorded.explain import explain_recorded
from cachepawl.policy import POLICIES
from cachepawl.tree import Reason

EVICTED = {Reason.EVICTED, Reason.STATE_EVICTED}


@pytest.mark.parametrize("policy", POLICIES)
def test_reasons_are_those_that_were_given(policy: str, tmp_path: Path) -> None:
    load = recorded(tmp_path / "log", 80, policy=policy)
    causes = 0
    for number, (name, missed) in enumerate(load.missed.items(), 1):
        told = explain_recorded(tmp_path / "log", number)
        assert (told.policy, told.usable) == (policy, load.hits[name])
        assert [miss for miss, _ in told.misses] == missed
        for miss, cause in told.misses:
            assert (cause is not None) == (miss.reason in EVICTED and miss.by == policy), miss
            if cause is not None:
                causes += 1
                assert cause.request <= number
                assert cause.end >= miss.upto
                assert cause.why
    assert causes > 5


def test_a_number_that_is_not_there(tmp_path: Path) -> None:
    recorded(tmp_path / "log", 3)
    with pytest.raises(InputError, match="--explain 4: the recording has 3 requests"):
        explain_recorded(tmp_path / "log", 4)
