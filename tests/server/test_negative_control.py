"""The comparison of log-probabilities can fail: a wrong state on purpose must show."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import CELLS, LIMITS, Cell
from harness import TOLERANCE, running, tokens

QUICK = [Cell("nemotron_h", 16)]
HYBRID = [cell for cell in CELLS if cell.has_states and cell not in QUICK]
WRONG_BY = 1e-2


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(c, id=str(c)) for c in QUICK]
    + [pytest.param(c, id=str(c), marks=pytest.mark.stress) for c in HYBRID],
)
def test_wrong_state_shows(wrong: Cell, tmp_path: Path) -> None:
    """Without --cachepawl-corrupt-restored-state this test fails, as the others pass."""
    more = ["--cachepawl-corrupt-restored-state", "--cachepawl-device-gb", "0.01"]
    with running(wrong.family, wrong.page, tmp_path, limits=LIMITS, more=more) as live:
        prompt, longer = tokens(1, 200), tokens(1, 200) + tokens(2, 70)
        cold = live.client.cold(longer)
        live.client.generate(prompt)
        warm = live.client.generate(longer)
        assert warm.cached > 0
        assert min(cold.distance(warm), 1.0) > max(TOLERANCE, WRONG_BY if wrong.tracked else 0)
