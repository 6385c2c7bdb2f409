"""`GET /cachepawl/map`: a picture of the cache, for `cachepawl map --url`.

In SGLang's HTTP process, which the launcher becomes.  The route is there only with
`--cachepawl-map`; without, SGLang answers 404.  Who may use it is SGLang's rule for
administration: with `--admin-api-key` that key, else with `--api-key` that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse
from sglang.srt.environ import envs
from sglang.srt.managers.io_struct import GetInternalStateReq
from sglang.srt.utils.auth import AuthLevel, auth_level

from cachepawl.errors import ConfigError
from cachepawl.observe.snapshot import MOST_CELLS, MOST_NODES
from cachepawl_launch.map_order import order
from cachepawl_patches.internal_state import MAP_SECTION

PATH = "/cachepawl/map"
SHARE = 0.05
"""Of the scheduler's time, at most, that maps may take."""


class Pace:
    """One map at a time, and a pause after each that its cost sets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0
        self._drawing = False

    def start(self) -> float:
        """Seconds to wait until a map may be drawn; 0 when it is drawn now: call `done`."""
        if self._drawing:
            return 1.0
        left = self._next - self._clock()
        self._drawing = left <= 0
        return max(left, 0.0)

    def done(self, seconds: float) -> None:
        """The map has come, or not; it took the scheduler so long."""
        self._drawing = False
        self._next = self._clock() + seconds / SHARE


def refuse_processes(args: Any) -> None:
    """ConfigError where the route would not be there, or ask a scheduler by chance."""
    for flag, value in (
        ("--tokenizer-worker-num", args.tokenizer_worker_num),
        ("--dp-size", args.dp_size),
    ):
        if value > 1:
            raise ConfigError(
                f"--cachepawl-map with {flag} {value}: maps are served by one HTTP process, of "
                f"one scheduler; drop either flag"
            )
    if envs.SGLANG_RUST_SERVER.get():
        raise ConfigError(
            "--cachepawl-map with SGLANG_RUST_SERVER: maps are served by SGLang's server in "
            "Python; drop either"
        )


def add() -> None:
    """Add the route to SGLang's application, before the server runs."""
    from sglang.srt.entrypoints.http_server import app

    app.add_api_route(PATH, endpoint(Pace()), methods=["GET"])


def endpoint(pace: Pace) -> Callable[..., Any]:
    """What answers: 200 and the picture, 400 for limits out of range, 429 when asked too often."""

    async def cachepawl_map(
        nodes: Annotated[int, Query(ge=1, le=MOST_NODES)] = 400,
        cells: Annotated[int, Query(ge=1, le=MOST_CELLS)] = 1024,
    ) -> JSONResponse:
        wait = pace.start()
        if wait:
            return JSONResponse(
                {"error": f"maps may take {SHARE:.0%} of the scheduler's time; ask again in "
                          f"{wait:.1f} s"},
                status_code=429,
                headers={"Retry-After": str(int(wait) + 1)},
            )  # fmt: skip
        seconds = 0.0
        try:
            drawn = await _ask(order(nodes, cells))
            seconds = drawn["seconds"]
        finally:
            pace.done(seconds)
        return JSONResponse(drawn["map"])

    return auth_level(AuthLevel.ADMIN_OPTIONAL)(cachepawl_map)


async def _ask(request_id: str) -> dict[str, Any]:
    """The first rank's answer: only that one sends any."""
    from sglang.srt.entrypoints.http_server import get_global_state

    manager = get_global_state().tokenizer_manager
    manager.auto_create_handle_loop()
    answers = await manager.get_internal_state_communicator(GetInternalStateReq(rid=request_id))
    drawn: dict[str, Any] = answers[0].internal_state[MAP_SECTION]
    return drawn
