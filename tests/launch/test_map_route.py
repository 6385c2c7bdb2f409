"""The way of a map to a server's caller: the order, the pace, where it is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from small_caches import SmallCache

from cachepawl.errors import ConfigError
from cachepawl.observe.snapshot import snapshot
from cachepawl_launch.map_order import draw, order
from cachepawl_launch.map_route import SHARE, Pace, refuse_processes


def test_an_order_is_carried_out() -> None:
    cache = SmallCache(4, 12, 3).cache
    drawn = draw(cache, None, order(3, 5))
    assert drawn is not None
    assert drawn["map"] == snapshot(cache, 3, 5)
    assert 0 < drawn["seconds"] < 5


@pytest.mark.parametrize(
    "request_id",
    [None, "", "HEALTH_CHECK_1", "cachepawl-map", "cachepawl-map:1", "cachepawl-map:1:x",
     "cachepawl-map:1:1 ", "cachepawl-map:-1:1"],
)  # fmt: skip
def test_no_order_no_map(request_id: str | None) -> None:
    assert draw(SmallCache(4, 12, 3).cache, None, request_id) is None


def test_the_pace() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert pace.start() == 0
    assert pace.start() > 0  # one at a time
    now[0] += 3
    pace.done(0.2)
    assert pace.start() == pytest.approx(0.2 / SHARE)
    now[0] += 0.2 / SHARE
    assert pace.start() == 0
    pace.done(0)
    assert pace.start() == 0  # what cost nothing needs no pause


def test_where_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"tokenizer_worker_num": 1, "dp_size": 1}
    refuse_processes(SimpleNamespace(**one))
    for name, flag in (
        ("tokenizer_worker_num", "--tokenizer-worker-num"),
        ("dp_size", "--dp-size"),
    ):
        with pytest.raises(ConfigError, match=f"--cachepawl-map with {flag} 2"):
            refuse_processes(SimpleNamespace(**{**one, name: 2}))
    monkeypatch.setenv("SGLANG_RUST_SERVER", "1")
    with pytest.raises(ConfigError, match="SGLANG_RUST_SERVER"):
        refuse_processes(SimpleNamespace(**one))
