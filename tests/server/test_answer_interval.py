"""`--cachepawl-answer-interval 1`: a next turn starts from the answer's last whole page."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import Cell
from harness import TOLERANCE, running, tokens

pytestmark = [pytest.mark.server, pytest.mark.stress]


@pytest.mark.parametrize("cell", [Cell("qwen3_5", 1), Cell("nemotron_h", 16)], ids=str)
def test_every_token_or_page(cell: Cell, tmp_path: Path) -> None:
    more = ["--cachepawl-answer-interval", "1"]
    with running(cell.family, cell.page, tmp_path, more=more) as server:
        for prompt, answer in ((150, 40), (96, 33), (64, 3)):
            server.client.flush()
            ids = tokens(9, prompt)
            said = server.client.generate(ids, answer)
            following = ids + list(said.ids) + tokens(10, 20)
            warm = server.client.generate(following)
            # The last token of an answer is never computed.
            known = (prompt + answer - 1) // cell.page * cell.page
            assert warm.cached == max(known, prompt // 64 * 64)
            assert server.client.cold(following).distance(warm) < TOLERANCE
