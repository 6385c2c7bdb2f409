"""What each policy adds to a request, at a given size of the tree or over a trace.

    python -m benchmarks.bench_policy_cost [--nodes 100000] [--requests 3000]
    python -m benchmarks.bench_policy_cost --trace FILE --gib 40 [--requests 6000]

The policies get the same requests in one process, one after the other.  Without a trace
conversations of several turns over a shared prompt drive the cache as a server does, under
eviction, with ten minutes of silence now and then.  With one, the engine of `cachepawl replay`
plays it for Qwen3-Next-80B-A3B.

Timed is every call of a policy's hooks, in CPU time of the thread; what an empty call takes the
same way is subtracted.  So the figures are a policy's own time, without what the cache does for
it and without what other processes take.  The garbage collector is off meanwhile.
"""

from __future__ import annotations

import argparse
import random
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time, thread_time_ns
from typing import Any

from benchmarks import arguments
from benchmarks.clock import collector_off
from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import CachepawlError
from cachepawl.offline.models import load_model
from cachepawl.offline.replay.engine import Engine
from cachepawl.offline.replay.measures import Measures
from cachepawl.offline.replay.scenario import GIB, Scenario
from cachepawl.offline.replay.source import Source
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Key

PAGE = 16
HOOKS = ("began", "published", "leaving", "victim", "unlocked", "ended")
MODEL = "Qwen3-Next-80B-A3B-Instruct"
SILENCE_EVERY = 500
SILENCE = 600_000
"""Milliseconds without a request, after so many of them."""


class Times:
    """What the hooks of one policy took, call by call and request by request; nanoseconds."""

    def __init__(self) -> None:
        self.clock = 0
        self.hooks: dict[str, array[int]] = {}
        self.requests: array[int] = array("q")
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self.hooks = {name: array("q") for name in HOOKS}
        self.requests = array("q")
        self.clock = round(median(_read() for _ in range(1000)))

    def listen(self, policy: EvictionPolicy) -> None:
        """Time every hook of a policy."""
        for name in HOOKS:
            setattr(policy, name, self._timed(name, getattr(policy, name)))

    def _timed(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def hook(*args: Any) -> Any:
            start = thread_time_ns()
            out = plain(*args)
            spent = thread_time_ns() - start - self.clock
            self.hooks[name].append(spent)
            if name == "began":
                self.requests.append(0)
            if self.requests:
                self.requests[-1] += spent
            return out

        return hook

    def print(self, name: str, whole: float, nodes: int) -> float:
        """A table; returns microseconds a request."""
        count = len(self.requests)
        calls = sum(map(len, self.hooks.values()))
        each = sorted(self.requests)
        mean = sum(each) / count / 1000
        print(
            f"\n{name}: mean {mean:.1f} us a request, median {each[count // 2] / 1000:.1f}, "
            f"p99 {each[count * 99 // 100] / 1000:.1f}, "
            f"largest {each[-1] / 1000:.1f}; {sum(each) / calls / 1000:.1f} us a call;\n"
            f"  of {whole:.1f} us with the cache's own work and reading; {nodes} nodes"
        )
        for hook, spent in self.hooks.items():
            if spent:
                order = sorted(spent)
                each_request = sum(order) / count / 1000
                print(
                    f"  {hook:10}{len(order) / count:6.2f} a request{each_request:8.1f} us "
                    f"a request, median{order[len(order) // 2] / 1000:6.1f}, "
                    f"p99{order[len(order) * 99 // 100] / 1000:7.1f}, "
                    f"longest{order[-1] / 1000:8.1f}"
                )
        return mean


def _read() -> int:
    start = thread_time_ns()
    return thread_time_ns() - start


def make_cache(nodes: int, policy: EvictionPolicy) -> HybridPrefixCache:
    """An arena that holds about so many nodes of half a state's size each."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    state = StateShape(1, (), 2, (64 * PAGE * kv.entry_bytes // 4,), 4)
    frames = nodes * 3 // 2
    return HybridPrefixCache(Geometry(kv, state, PAGE, frames), states_per_request=1, policy=policy)


class Load:
    """Conversations that go on or begin, 256 new tokens a turn, a request every 50 ms."""

    def __init__(self, cache: HybridPrefixCache, seed: int = 1) -> None:
        self.cache = cache
        self.draw = random.Random(seed)
        self.open: list[array[int]] = []
        self.row = 0
        self.now = 0
        self.next = 1 << 20

    def fresh(self, count: int) -> array[int]:
        self.next += count
        return array("q", range(self.next - count, self.next))

    def request(self) -> None:
        draw = self.draw
        if self.open and draw.random() < 0.7:
            # The latest ones are the likeliest to go on.
            text = self.open[-1 - int(len(self.open) * draw.random() ** 3)]
        else:
            text = array("q", range(256 * (1 + draw.randrange(4))))
            self.open.append(text)
        text += self.fresh(256)
        if len(text) > 4096:
            self.open.remove(text)
        self.serve(Key(text.tobytes()), len(text))

    def serve(self, key: Key, prompt: int) -> None:
        cache, self.row = self.cache, self.row + 1
        self.now += SILENCE if self.row % SILENCE_EVERY == 0 else 50
        found = cache.match(key, prompt - 1)
        lock = cache.lock(found.node)
        slots = cache.take_states(1)
        cache.open_row(self.row, found.node, found.usable_len)
        cache.begin(self.row, key, self.now)
        cache.allocate(self.row, prompt)
        done = cache.publish(self.row, key, prompt, slots[0])
        held = cache.lock_path(done.node)
        cache.unlock(lock)
        cache.free_states(() if done.state_taken else slots)
        cache.release(self.row, prompt, prompt)
        cache.unlock(held)
        cache.close_row(self.row)


def over_nodes(name: str, nodes: int, requests: int) -> float:
    """A tree that is full, then so many requests."""
    policy, times = POLICIES[name](), Times()
    load = Load(make_cache(nodes, policy))
    cache = load.cache
    while not cache.counters.evicted_states:
        load.request()
    times.listen(policy)
    with collector_off():
        start = process_time()
        for _ in range(requests):
            load.request()
        whole = (process_time() - start) / requests * 1e6
    return times.print(name, whole, cache.tree.num_nodes)


def over_trace(name: str, trace: Path, gib: float, requests: int) -> float:
    """So many requests of a trace, from an empty tree on."""
    policy, times = POLICIES[name](), Times()
    times.listen(policy)
    scenario = Scenario(load_model(MODEL).spec, int(gib * GIB), policy=name, grid=512)
    scenario.check()
    measures = Measures(scenario.spec, scenario.budget)
    engine = Engine(scenario, measures, policy)
    source = islice(Source(trace).requests(), requests)
    with collector_off():
        start = process_time()
        engine.play(source)
        whole = (process_time() - start) / measures.total().requests * 1e6
    mean = times.print(name, whole, engine.cache.tree.num_nodes)
    print(f"  {100 * measures.total().hit_rate:.2f} % of the tokens were hit")
    return mean


def _policies(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in POLICIES:
            known = ", ".join(POLICIES)
            raise CachepawlError(f"--policies {name}: no such policy; give some of {known}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 for what is missing or wrong."""
    try:
        _measure(parse_arguments(argv))
    except CachepawlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add, count = parser.add_argument, arguments.count
    add("--nodes", type=count("--nodes"), default=100_000)
    add("--requests", type=count("--requests"), default=3000)
    add("--trace", type=Path, help="measure over this trace instead")
    add("--gib", type=arguments.number("--gib", arguments.MOST_GIB), default=40.0,
        help="of the arena, with --trace")  # fmt: skip
    add("--policies", type=_policies, default=",".join(POLICIES))
    return parser.parse_args(argv)


def _measure(options: argparse.Namespace) -> None:
    means = {}
    for name in options.policies:
        if options.trace is None:
            means[name] = over_nodes(name, options.nodes, options.requests)
        else:
            means[name] = over_trace(name, options.trace, options.gib, options.requests)
    for name, mean in means.items():
        if name != "lru" and "lru" in means:
            print(f"\n{name} beyond lru: {mean - means['lru']:.1f} us a request")


if __name__ == "__main__":
    sys.exit(main())
