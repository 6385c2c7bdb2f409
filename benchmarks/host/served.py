"""`python -m benchmarks.host.served`: SGLang's host cache and ours, on real servers, side by side.

Conversations that the device does not hold and the host does, one request at a time in a fixed
order, on a real SGLang server on the CPU: stock with its hierarchical cache, and with cachepawl
under each policy, in the same bytes.  Writes `host-served.json`.  See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from benchmarks.host.contestants import MODELS, STOCK, Contestant, Model, Start, contestant
from benchmarks.host.talk import ORDERS, Script, Sizes
from benchmarks.machine import describe_machine
from benchmarks.servers import ask, cpu_seconds, spawned
from benchmarks.tables import show_rows
from cachepawl.errors import CachepawlError
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import POLICIES

SIZES = Sizes(conversations=16, turns=4, common=192, first=1300, more=750, answer=24)
"""A working set of 64,000 tokens, and a state or more of each conversation."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host.served", description=__doc__)
    parser.add_argument("--model", action="append", choices=[m.name for m in MODELS],
                        help="default: all")  # fmt: skip
    parser.add_argument("--order", action="append", choices=ORDERS, help="default: all")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="default: all")
    parser.add_argument("--write-policy", default="write_through", choices=WRITE_POLICIES)
    parser.add_argument("--conversations", type=int, default=SIZES.conversations)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args(argv)


def compare(
    model: Model,
    scripts: dict[str, Script],
    who: Sequence[str],
    folder: Path,
    *,
    writing: str = "write_through",
    start: Start = spawned,
) -> list[dict[str, Any]]:
    """A row for each script and server; one server at a time, the first one sets the answers."""
    rows = []
    for name in who:
        with contestant(name, model, folder, writing=writing, start=start) as server:
            ask(server.url, [5, 6, 7], 1)  # what is made when it is first needed
            for order, script in scripts.items():
                print(f"{model.name}, {name}: {order}", file=sys.stderr, flush=True)
                rows.append({"order": order, "server": name} | play(server, script))
    return sorted(rows, key=lambda row: list(scripts).index(row["order"]))


def play(server: Contestant, script: Script) -> dict[str, Any]:
    """All requests of a script, from an empty cache: hits, bytes, and time."""
    _flush(server)
    before, cpu, prompts = _settled(server), cpu_seconds(server.pid), script.prompts()
    took, asked, device, host = [], 0, 0, 0
    while ids := prompts.next():
        started = time.perf_counter()
        reply = ask(server.url, ids, script.sizes.answer)
        took.append(1000 * (time.perf_counter() - started))
        meta = reply["meta_info"]
        details = meta.get("cached_tokens_details") or {"device": 0, "host": 0}
        assert meta["cached_tokens"] == details["device"] + details["host"]
        asked, device, host = asked + len(ids), device + details["device"], host + details["host"]
        prompts.answered(reply["output_ids"])
    after, spent = _settled(server), cpu_seconds(server.pid) - cpu
    moved = {way: after[way] - before[way] for way in after}
    return {
        "requests": len(took),
        "prompt_tokens": asked,
        "device_tokens": device,
        "host_tokens": host,
        "recomputed_tokens": asked - device - host,
        "loaded_bytes": moved["load"],
        "bytes_a_token": round(moved["load"] / max(1, host), 1),
        "written_bytes": moved["write"],
        "other_answers": prompts.others,
        "ms_median": round(statistics.median(took), 1),
        "ms_total": round(sum(took)),
        "cpu_ms": round(1000 * spent / len(took), 1),
    }


def _flush(server: Contestant) -> None:
    for _ in range(400):  # SGLang answers 400 while it is busy
        if requests.post(f"{server.url}/flush_cache", timeout=60).ok:
            return
        time.sleep(0.05)
    raise CachepawlError("the server never became idle enough to flush its cache")


def _settled(server: Contestant) -> dict[str, int]:
    """What has been copied, once that has stopped growing."""
    seen = server.copied()
    for _ in range(100):
        time.sleep(0.3)
        before, seen = seen, server.copied()
        if seen == before:
            return seen
    raise CachepawlError(f"copies go on while nobody asks: {seen}")


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    work, console = options.out / "host-served", Console()
    work.mkdir(parents=True, exist_ok=True)
    sizes = SIZES._replace(conversations=options.conversations)
    who = (STOCK, *(options.policy or POLICIES))
    found: dict[str, Any] = {"machine": describe_machine(), "sizes": sizes._asdict(), "models": {},
                             "write_policy": options.write_policy}  # fmt: skip
    try:
        for model in MODELS:
            if options.model and model.name not in options.model:
                continue
            scripts = {name: ORDERS[name](sizes) for name in options.order or ORDERS}
            rows = compare(model, scripts, who, work, writing=options.write_policy)
            memory = {"device_bytes": model.device_bytes, "host_bytes": model.host_bytes}
            found["models"][model.name] = memory | {"rows": rows}
            show_rows(console, f"{model.name}, {model.device_bytes / 2**20:.1f} MiB on the device, "
                      f"{model.host_bytes / 2**20:.1f} on the host", rows)  # fmt: skip
    except CachepawlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = options.out / "host-served.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
