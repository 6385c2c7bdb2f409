"""The real SGLang server on the CPU platform, stock or with cachepawl, and a client for it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imported
import psutil
import requests
from forked import Program
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from cachepawl_launch.cpu.flags import Limits, serve_args, serve_env
from cachepawl_launch.cpu.tiny import make_tiny

START_SECONDS = 600
TOLERANCE = 1e-4
"""Largest difference of a log-probability that counts as equal."""
VOCABULARY = range(5, 260)
SIDE_BY_SIDE = 4
"""Requests that are answered cold at a time."""


@dataclass(frozen=True)
class Answer:
    """One finished request."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    cached: int
    from_host: int = 0
    """Of the cached tokens, those that a host tier gave."""

    def distance(self, other: Answer) -> float:
        """Largest difference of log-probabilities; infinite when the ids differ."""
        if self.ids != other.ids:
            return math.inf
        return max(abs(a - b) for a, b in zip(self.logprobs, other.logprobs, strict=True))


def tokens(seed: int, count: int) -> list[int]:
    """Reproducible random token ids."""
    draw = random.Random(seed)
    return [draw.choice(VOCABULARY) for _ in range(count)]


def exactly(new: int) -> dict[str, Any]:
    """Sampling parameters of greedy decoding of `new` tokens."""
    return {"temperature": 0, "max_new_tokens": new, "ignore_eos": True}


def hopefully(new: int) -> dict[str, Any]:
    """The same tokens, but SGLang hopes that the answer ends early, and reserves less for it."""
    return {"temperature": 0, "max_new_tokens": new, "min_new_tokens": new}


def _answer(out: dict[str, Any]) -> Answer:
    meta = out["meta_info"]
    logprobs = tuple(entry[0] for entry in meta["output_token_logprobs"])
    from_host = (meta.get("cached_tokens_details") or {}).get("host", 0)
    return Answer(tuple(out["output_ids"]), logprobs, meta["cached_tokens"], from_host)


class Client:
    """Talks to one server over HTTP."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.key: str | None = None
        """The server's admin key, if it has one."""

    def generate(self, ids: Sequence[int], new: int = 8, **more: Any) -> Answer:
        """Greedy decoding of `new` tokens."""
        body = {
            "input_ids": list(ids),
            "sampling_params": {"temperature": 0, "max_new_tokens": new, "ignore_eos": True},
            "return_logprob": True,
        } | more
        return _answer(self._post(body))

    def generate_at_once(
        self,
        jobs: Sequence[tuple[Sequence[int], int]],
        sampling: Callable[[int], dict[str, Any]] = exactly,
    ) -> list[Answer]:
        """`(ids, new)` jobs that reach the scheduler in one message, answers in order.

        They run side by side, and no clock and no network decides which come together.
        """
        limits = [sampling(new) for _, new in jobs]
        ids = [list(ids) for ids, _ in jobs]
        body = {"input_ids": ids, "sampling_params": limits, "return_logprob": True}
        return [_answer(out) for out in self._post(body)]

    def _post(self, body: dict[str, Any]) -> Any:
        reply = requests.post(f"{self.base}/generate", json=body, timeout=1800)
        reply.raise_for_status()
        return reply.json()

    def generate_many(
        self, jobs: Sequence[tuple[Sequence[int], int]], threads: int, **more: Any
    ) -> list[Answer]:
        """`(ids, new)` jobs, `threads` at a time, answers in order."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda job: self.generate(*job, **more), jobs))

    def cold(self, ids: Sequence[int], new: int = 8, **more: Any) -> Answer:
        """The same in a namespace of its own, where nothing is cached."""
        answer = self.generate(ids, new, extra_key=uuid.uuid4().hex, **more)
        assert answer.cached == 0
        return answer

    def cold_many(
        self,
        jobs: Sequence[tuple[Sequence[int], int]],
        sampling: Callable[[int], dict[str, Any]] = exactly,
    ) -> list[Answer]:
        """`(ids, new)` jobs cold, a few at a time: a step costs hardly more for four than for one.

        That who is computed beside others has the same answer as alone is a test of its own
        (`test_pressure.test_eight_at_a_time`).  Not for what counts waits or retractions: beside a
        host tier even four can be too many for a small arena.
        """
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(
                pool.map(lambda job: self.cold(*job, sampling_params=sampling(job[1])), jobs)
            )

    def abort(self, rid: str) -> None:
        """Give a request up, wherever it is."""
        requests.post(f"{self.base}/abort_request", json={"rid": rid}, timeout=60)

    def flush(self) -> None:
        """Empty the cache; SGLang answers 400 while it is busy."""
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        for _ in range(400):
            if requests.post(f"{self.base}/flush_cache", headers=headers, timeout=60).ok:
                return
            time.sleep(0.05)
        raise AssertionError("the server never became idle enough to flush")

    def state(self) -> dict[str, Any]:
        """The scheduler's own view of itself."""
        return requests.get(f"{self.base}/server_info", timeout=60).json()["internal_states"][0]

    def pawl(self) -> dict[str, Any]:
        """The `cachepawl` section of it."""
        return self.state()["cachepawl"]

    def stats(self) -> dict[str, int]:
        return self.pawl()["stats"]

    def metrics(self) -> dict[str, float]:
        """`/metrics`, samples summed over their labels."""
        reply = requests.get(f"{self.base}/metrics", timeout=60)
        reply.raise_for_status()
        told: dict[str, float] = {}
        for family in text_string_to_metric_families(reply.text):
            for sample in family.samples:
                told[sample.name] = told.get(sample.name, 0.0) + sample.value
        return told

    def wait_idle(self) -> dict[str, int]:
        """Stats once no request holds anything."""
        for _ in range(400):
            stats = self.stats()
            if stats["rows"] == 0:
                return stats
            time.sleep(0.05)
        raise AssertionError(f"requests still hold rows: {stats}")

    def wait_copied(self) -> dict[str, int]:
        """Stats once no request holds anything, and a host tier has no copy under way."""
        for _ in range(400):
            stats = self.wait_idle()
            if not (stats["host_writes_under_way"] or stats["host_loads_under_way"]):
                return stats
            time.sleep(0.05)
        raise AssertionError(f"copies are still under way: {stats}")


@dataclass(frozen=True)
class End:
    """How a server ended that was asked to."""

    code: int
    seconds: float
    left: list[str]
    """Its processes that were still there afterwards."""


class Server:
    """A running server process; `log` is all it has printed."""

    def __init__(
        self, process: subprocess.Popen[bytes] | Program, port: int, log_path: Path
    ) -> None:
        self.process = process
        self.port = port
        self.log_path = log_path
        self.client = Client(port)
        self.asked_to_end = False

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                raise AssertionError(f"the server ended while starting:\n{self.log[-6000:]}")
            try:
                if requests.get(f"{self.client.base}/health", timeout=5).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.25)
        raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log[-6000:]}")

    def family(self) -> list[psutil.Process]:
        """All processes below the server's own."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def end(self, seconds: float) -> End:
        """Ask it to end, as a user would; AssertionError if it has not within `seconds`."""
        family, begun = self.family(), time.monotonic()
        self.asked_to_end = True
        self.process.terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"goes on after {seconds} s:\n{self.log[-6000:]}") from None
        took = time.monotonic() - begun
        _, alive = psutil.wait_procs(family, timeout=1)
        return End(code, took, [left for process in alive if (left := seen(process))])

    def stop(self) -> None:
        """End the process and all of its children; returns when they are gone.

        Only one that records is asked to end, so that its log is whole: that takes seconds.
        """
        family = self.family()
        if "--cachepawl-trace" in self.process.args:  # type: ignore[operator]
            self.process.terminate()
            psutil.wait_procs(family, timeout=10)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()


def seen(process: psutil.Process) -> str | None:
    """What a process is, unless it has ended and only its parent has not asked yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process.status() != psutil.STATUS_ZOMBIE:
            return " ".join([process.name(), *process.cmdline()])
    return None


def model_folder() -> Path:
    """Where the tiny checkpoints are made, once for all test runs of this checkout."""
    return Path(__file__).parents[2] / "build" / "models"


def command(
    family: str,
    page: int,
    port: int,
    *,
    pawl: bool,
    limits: Limits | None,
    more: Sequence[str],
    model: Path | None = None,
) -> list[str]:
    """The command line of a server, as a user would type it."""
    model = model or make_tiny(family, model_folder())
    ours, theirs = ["cachepawl.launch_server", "--cachepawl-cpu"], ["sglang.launch_server"]
    entry = ours if pawl else theirs
    args = serve_args(family, page, limits=limits)
    where = ["--model-path", str(model), "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", *entry, *where, *args, *more]


@contextmanager
def running(
    family: str,
    page: int,
    folder: Path,
    *,
    pawl: bool = True,
    limits: Limits | None = None,
    more: Sequence[str] = (),
    env: dict[str, str] | None = None,
    late: dict[str, str] | None = None,
    model: Path | None = None,
) -> Iterator[Server]:
    """A ready server on the CPU; it and all its processes are gone afterwards.

    `env` is added to its environment, and so is `late`, which no module reads at its import.
    `model` is another checkpoint of the family than the usual tiny one.
    """
    port = free_port()
    log = folder / f"{'pawl' if pawl else 'stock'}-{family}-{page}-{port}.log"
    words = command(family, page, port, pawl=pawl, limits=limits, more=more, model=model)
    with launched(words, port, log, env and serve_env() | env, late) as server:
        yield server


@contextmanager
def launched(
    words: list[str],
    port: int,
    log: Path,
    env: dict[str, str] | None = None,
    late: dict[str, str] | None = None,
) -> Iterator[Server]:
    """The server of this command line, once it is ready; all its processes are gone afterwards."""
    server = Server(start(words, log, env, late), port, log)
    try:
        server.wait_ready()
        yield server
        assert server.asked_to_end or server.alive, f"the server died:\n{server.log[-6000:]}"
    finally:
        server.stop()


def start(
    words: list[str],
    log: Path,
    env: dict[str, str] | None = None,
    late: dict[str, str] | None = None,
) -> subprocess.Popen[bytes] | Program:
    """The process of this command line, which prints into its log.

    Without an `env` of its own it is served on this platform, with SGLang imported already
    (`imported.py`); `late` is added to the environment of either.
    """
    if env is None and imported.allowed():
        return imported.start(words[1:], log, late or {})
    environment = os.environ | (serve_env() if env is None else env) | (late or {})
    with log.open("wb") as out:
        return subprocess.Popen(words, stdout=out, stderr=out, env=environment, cwd=log.parent)


def dump(value: Any) -> str:
    return json.dumps(value, indent=1)
