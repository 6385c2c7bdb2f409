"""The stranding scenario of `docs/decisions/0020-evacuation.md` at full size, on a real server.

Frames of 197 pages of 16 tokens, as Qwen3-Next has them: the model is the tiny NemotronH with a
state so much larger than its KV.  64 requests decode 2048 tokens side by side, or 256 decode 512;
all end but the last, whose pages then pin frames here and there.  Then more requests come at once
than there is room for, and each of them needs whole frames for its states.

The server runs at check level 2: every device row is compared with the host's pages at every
step, and what is freed is full of NaN.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import LOUD
from harness import TOLERANCE, Answer, Client, exactly, model_folder, running, tokens

from cachepawl_launch.cpu.flags import Limits
from cachepawl_launch.cpu.tiny import make_tiny

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3000)]

Job = tuple[list[int], int]
PAGE = 16
PAGES = 197
"""Pages of a frame."""
FRAME = PAGES * PAGE * 2 * 16 * 4
"""Bytes of it: K and V of one layer with one head of 16 float32."""
WIDE = {
    "num_key_value_heads": 1,
    "hybrid_override_pattern": "M-*-M-",
    "num_hidden_layers": 6,
    "mamba_num_heads": 8,
    "ssm_state_size": 372,
    "n_groups": 1,
    "mamba_n_groups": 1,
}
"""One attention layer, and two Mamba-2 layers of 8 x 16 x 372: a state of 401,856 bytes."""
STATES = 3
"""State slots of a request."""
OUTLIVES = 400
"""Tokens that the last request decodes after the others have ended."""


def one_after_the_other(client: Client, crowd: list[Job], waiting: list[Job]) -> list[Answer]:
    """The crowd's answers, and those of the waiting, who come when one of the crowd is left."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.generate_at_once, crowd, exactly)
        until(lambda: client.stats()["rows"] == len(crowd))
        until(lambda: client.stats()["rows"] == 1)
        second = client.generate_at_once(waiting, exactly)
        assert not first.done(), "the last of the crowd has ended too early"
        return [*first.result(), *second]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1500
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def prompts(seed: int, count: int) -> list[list[int]]:
    return [tokens(seed + i, 20) for i in range(count)]


@pytest.mark.parametrize(("requests", "answer"), [(64, 2048), (256, 512)])
def test_one_survivor_of_many(requests: int, answer: int, tmp_path: Path) -> None:
    kv_frames = -(-requests * (-(-(20 + answer + OUTLIVES) // PAGE)) // PAGES)
    frames = requests * STATES + kv_frames + 2
    later = prompts(9000, frames // STATES + 4)
    jobs = [(ids, answer) for ids in prompts(7000, requests - 1)]
    last = tokens(8000, 20)
    limits = Limits(None, None, requests=2 * len(later), context=4096, chunked_prefill=256)
    arena = ["--cachepawl-device-gb", f"{(frames + 1.5) * FRAME / 2**30:.9f}"]
    model = make_tiny("nemotron_h", model_folder(), name="nemotron_h-large-states", changes=WIDE)
    with running(
        "nemotron_h", PAGE, tmp_path, limits=limits, more=[*LOUD, *arena], model=model
    ) as server:
        client = server.client
        assert client.pawl()["longest_request"] == (frames - STATES) * PAGES * PAGE
        crowd = [*jobs, (last, answer + OUTLIVES)]
        waiting = [(ids, 8) for ids in later]
        warm = one_after_the_other(client, crowd, waiting)
        stats = client.wait_idle()
        print({name: n for name, n in stats.items() if "evac" in name or "admi" in name})
        assert client.pawl()["device_reads"] == 0
        assert stats["evacuated_pages"] > 0
        client.flush()
        calm = [client.generate(ids, new) for ids, new in (crowd[0], crowd[-1], *waiting[:8])]
    pairs = [warm[0], warm[requests - 1], *warm[requests : requests + 8]]
    assert stats["largest_evacuation"] <= 2 * PAGES
    assert stats["evacuations_refused"] == 0
    assert max(a.distance(b) for a, b in zip(calm, pairs, strict=True)) < TOLERANCE
