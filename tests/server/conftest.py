"""One server a cell, shared by all tests of that cell; cells spread over the workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import ARENA_GB, CELLS, FEW, LIMITS, LONG_RUN, Cell
from harness import Client, Server, running
from observed import Observed, observing

LOUD = ["--cachepawl-check-level", "2", "--cachepawl-poison-freed"]
"""Every invariant at every step; every freed frame full of NaN."""
ARENA = ["--cachepawl-device-gb", ARENA_GB]
EAGER = ["--schedule-conservativeness", "0.05"]
"""Admits more than will fit, so that requests have to be retracted."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here start servers; some are played on a few of them, or on all under stress."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.server)
            if item.get_closest_marker("few_cells") and item.callspec.params["cell"] not in FEW:
                item.add_marker(pytest.mark.stress)


ONE_WORKER_EACH = [
    pytest.param(
        cell,
        id=str(cell),
        marks=[pytest.mark.xdist_group(str(cell)), *([pytest.mark.stress] * (cell in LONG_RUN))],
    )
    for cell in CELLS
]
"""Tests of a cell go to one worker, where its server runs."""


@pytest.fixture(scope="session", params=ONE_WORKER_EACH)
def cell(request: pytest.FixtureRequest) -> Cell:
    """A model family and a page size."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def server(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The cell's server with cachepawl, a small arena, all checks on."""
    folder = tmp_path_factory.mktemp(str(cell))
    with running(
        cell.family, cell.page, folder, limits=LIMITS, more=[*LOUD, *ARENA, *EAGER]
    ) as live:
        yield live


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """The one server of all tests in the group "observed"."""
    with observing(tmp_path_factory.mktemp("observed")) as live:
        yield live


@pytest.fixture
def client(server: Server) -> Client:
    """A client of the cell's server, its cache empty."""
    assert server.alive, f"an earlier test killed the server:\n{server.log[-6000:]}"
    server.client.flush()
    return server.client
