"""`python -m benchmarks.bench_record`: what `--cachepawl-trace` costs, and how much it writes.

Two parts.  *Calls*: the tree rows of `benchmarks.run` through SGLang's interface, off and on;
median CPU time of the scheduler's thread for one call, with the real queue, thread, pipe and
writer process at work.  *Requests*: conversations served through the cache's verbs, decode
steps and notes included, off and on in turn: CPU time of the process a request, the sender's
thread included, the cyclic garbage collector off; CPU time of the writer's process; bytes of
the log.
A recording that lost a line, or does not run again as it was, is an error.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.process import set_up_process
from benchmarks.run import write_json

PAGES = (1, 16, 64)
SUFFIXES = ("", ".gz", ".zst")
ANSWER = 256
"""Tokens of an answer."""
TOGETHER = 16
"""Requests that decode side by side."""
ROUNDS = 9
QUEUE_BYTES = 1 << 30
"""For the calls: a tree is filled as fast as it can be, which no server does."""


class RecordingError(RuntimeError):
    """The recording is not what was done."""


@contextmanager
def sender_to(path: Path, cache: Any) -> Iterator[Any]:
    """A started sender; RecordingError when it lost something."""
    from cachepawl.record.sender import Sender
    from cachepawl.record.setup import setup_of

    sender = Sender()
    sender.start(path, setup_of(cache, {}), salt=None, part_bytes=1 << 40)
    yield sender
    sender.close()
    if sender.stopped or sender._gaps:
        raise RecordingError(f"{sender._gaps} gaps in {path}")


# -- calls ------------------------------------------------------------------------------


def measure_calls(page: int, shape: Any, folder: Path) -> list[dict[str, Any]]:
    """Medians of every tree row, off and on."""
    from benchmarks.bench_tree import measure
    from benchmarks.clock import median_us
    from benchmarks.ours import Adapter, make_cache
    from cachepawl.record.recording import RecordingCache
    from cachepawl.record.sender import Sender
    from cachepawl.record.setup import setup_of

    senders: list[Sender] = []

    class Recorded(Adapter):
        name = "recorded"

        def make(self, page: int, frames: int) -> Any:
            plain = make_cache(page, frames)
            sender = Sender(QUEUE_BYTES)
            path = folder / f"calls-{page}-{len(senders)}.zst"
            sender.start(path, setup_of(plain, {}), salt=None, part_bytes=1 << 40)
            senders.append(sender)
            return RecordingCache(plain, sender.put)

    rows = []
    for name, times in measure(page, shape, {"off": Adapter, "on": Recorded}):
        off, on = median_us(times["off"]), median_us(times["on"])
        rows.append(
            {"row": name, "page": page, "off_us": off, "on_us": on, "added_us": round(on - off, 2)}
        )
    for sender in senders:
        sender.close()
        if sender.stopped or sender._gaps:
            raise RecordingError(f"{sender._gaps} gaps while measuring calls")
    return rows


# -- requests ---------------------------------------------------------------------------


def serve(cache: Any, batches: list[list[Any]], *, note: bool) -> int:
    """Every batch of prompts from match to end, each answered; returns how many there were."""
    from cachepawl.types import Key

    served = 0
    page = cache.geometry.page_tokens
    for batch in batches:
        running = []
        for tokens in batch:
            key, limit = Key(tokens[:-ANSWER].tobytes()), len(tokens) - ANSWER - 1
            found = cache.match(key, limit)
            missed = cache.tree.explain(key, found, limit)
            if note:
                cache.note_asked(f"r{served}", limit + 1, found.usable_len, None, missed)
            lock = cache.lock(found.node)
            slots = cache.take_states(3)
            cache.open_row(served, found.node, found.usable_len)
            cache.make_room_for_pages(cache.geometry.pages_of(limit + 1 - found.usable_len))
            cache.allocate(served, limit + 1)
            running.append((served, tokens, lock, slots))
            served += 1
        rows = [row for row, _, _, _ in running]
        for _ in range(ANSWER // page):
            cache.make_room_for_pages(len(rows))
            cache.next_pages(rows)
        for row, tokens, lock, slots in running:
            done = cache.publish(row, Key(tokens.tobytes()), len(tokens), slots[0])
            new = cache.lock_path(done.node)
            cache.unlock(lock)
            cache.free_states(slots[1:] if done.state_taken else slots)
            cache.release(row, len(tokens), len(tokens) + page)
            cache.unlock(new)
            if note:
                cache.note_ended(f"r{row}", row, 0, ANSWER, "length")
            cache.close_row(row)
    return served


def conversations() -> list[list[Any]]:
    """Four turns of 64 conversations under 8 system prompts, 16 at a time."""
    from benchmarks.workload import Source

    source = Source(3)
    stems = [source.tokens(2048) for _ in range(8)]
    talks = [stems[i % 8] for i in range(64)]
    out = []
    for _ in range(4):
        talks = [talk + source.tokens(256 + ANSWER) for talk in talks]
        out += [talks[at : at + TOGETHER] for at in range(0, len(talks), TOGETHER)]
    return out


def measure_requests(page: int, folder: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """CPU time and bytes a request."""
    from benchmarks.ours import frames_of, make_cache
    from cachepawl.record.recording import RecordingCache

    batches, frames = conversations(), frames_of(page, 1 << 17) + 100
    off, on, writer, sizes = [], [], [], {}
    for turn in range(rounds):
        plain = make_cache(page, frames)
        off.append(_seconds(plain, batches, note=False))
        cache = make_cache(page, frames)
        suffix = SUFFIXES[turn % len(SUFFIXES)]
        path = folder / f"requests-{page}-{turn}{suffix}"
        before = _children()
        with sender_to(path, cache) as sender:
            recorded = RecordingCache(cache, sender.put)
            on.append(_seconds(recorded, batches, note=True, sender=sender))
        writer.append(_children() - before)
        sizes[suffix] = path.stat().st_size
        _must_be_right(path, cache, plain)
    requests = sum(map(len, batches))
    per = {f"bytes{suffix or ' plain'}": round(n / requests) for suffix, n in sizes.items()}
    return {
        "page": page,
        "requests": requests,
        "off_us": round(median(off) / requests * 1e6, 1),
        "on_us": round(median(on) / requests * 1e6, 1),
        "ratio": round(median(on) / median(off), 2),
        "writer_us": round(median(writer) / requests * 1e6, 1),
        **per,
    }


def _seconds(cache: Any, batches: list[list[Any]], *, note: bool, sender: Any = None) -> float:
    from benchmarks.clock import collector_off

    with collector_off():
        start = time.process_time()
        serve(cache, batches, note=note)
        while sender is not None and sender._queue:
            time.sleep(0.01)
        return time.process_time() - start


def _children() -> float:
    """CPU seconds of processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _must_be_right(path: Path, cache: Any, plain: Any) -> None:
    from cachepawl.offline.recorded.log import Log
    from cachepawl.offline.recorded.rerun import Rerun

    rerun = Rerun(Log(path))
    for _ in rerun.run():
        pass
    if rerun.divergence or rerun.cache is None or rerun.cache.stats() != cache.stats():
        raise RecordingError(f"{path}: {rerun.divergence}")
    if cache.stats() != plain.stats() or not plain.stats()["evicted_tokens"]:
        raise RecordingError("both did other work, or nothing was evicted")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_record", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="page 64 and few calls")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    from benchmarks import tables
    from benchmarks.workload import FULL, QUICK

    console = Console(width=None if sys.stdout.isatty() else 120)
    pages, shape = ((64,), QUICK) if options.quick else (PAGES, FULL)
    calls: list[dict[str, Any]] = []
    requests = []
    with tempfile.TemporaryDirectory() as name:
        for page in pages:
            calls += measure_calls(page, shape, Path(name))
            requests.append(measure_requests(page, Path(name)))
    write_json(options.out / "record.json", {"calls": calls, "requests": requests})
    tables.show_rows(console, "Calls, recording off and on: median CPU time, µs", calls)
    tables.show_rows(console, "Requests: CPU time and bytes of the log, for one", requests)
    console.print(", ".join(f"{k} {v}" for k, v in describe_machine().items()), soft_wrap=True)
    return 0


if __name__ == "__main__":
    set_up_process()
    sys.exit(main())
