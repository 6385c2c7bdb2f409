"""What the policy `joint` costs a request, at a given size of the tree.

    python -m benchmarks.bench_policy_cost [--nodes 100000] [--requests 5000]

No model and no device: conversations of several turns over a shared prompt drive the cache as
a server does, under eviction, and the time spent in the policy is taken apart from the rest.
CPU time in microseconds.
"""

from __future__ import annotations

import argparse
import gc
import random
from array import array
from collections.abc import Callable
from time import process_time, thread_time
from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl.policy.joint import Joint
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Key

PAGE = 16
STEPS = ("began", "published", "leaving", "victim", "unlocked", "ended")


class Timed(Joint):
    """Counts the time in each step, and the longest step of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = dict.fromkeys(STEPS, 0)
        self.total = dict.fromkeys(STEPS, 0.0)
        self.longest: dict[str, list[float]] = {name: [] for name in STEPS}


def _timed(name: str) -> Callable[..., Any]:
    plain = getattr(Joint, name)

    def step(self: Timed, *args: Any) -> Any:
        start = thread_time()
        out = plain(self, *args)
        spent = thread_time() - start
        self.calls[name] += 1
        self.total[name] += spent
        self.longest[name].append(spent)
        return out

    return step


for _name in STEPS:
    setattr(Timed, _name, _timed(_name))


def make_cache(nodes: int, policy: Joint) -> HybridPrefixCache:
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
        found = cache.match(key, prompt - 1)
        lock = cache.lock(found.node)
        slots = cache.take_states(1)
        cache.open_row(self.row, found.node, found.usable_len)
        cache.begin(self.row, key, self.row * 50)
        cache.allocate(self.row, prompt)
        done = cache.publish(self.row, key, prompt, slots[0])
        held = cache.lock_path(done.node)
        cache.unlock(lock)
        cache.free_states(() if done.state_taken else slots)
        cache.release(self.row, prompt, prompt)
        cache.unlock(held)
        cache.close_row(self.row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=5000)
    options = parser.parse_args()
    policy = Timed()
    load = Load(make_cache(options.nodes, policy))
    cache = load.cache
    while not cache.counters.evicted_states:
        load.request()
    print(f"{cache.tree.num_nodes} nodes, {len(policy.units)} units after {load.row} requests")
    policy.calls = dict.fromkeys(STEPS, 0)
    policy.total = dict.fromkeys(STEPS, 0.0)
    policy.longest = {name: [] for name in STEPS}
    evicted = cache.counters.evicted_states
    gc.freeze()
    start = process_time()
    for _ in range(options.requests):
        load.request()
    whole = (process_time() - start) / options.requests * 1e6
    for name in STEPS:
        times = sorted(policy.longest[name])
        tail = times[-1 - len(times) // 1000]
        print(
            f"{name:10} {policy.calls[name] / options.requests:6.2f} a request "
            f"{policy.total[name] / options.requests * 1e6:7.1f} us a request, "
            f"p50 {times[len(times) // 2] * 1e6:6.1f}, p99.9 {tail * 1e6:6.1f}, "
            f"longest {times[-1] * 1e6:7.1f}"
        )
    print(f"policy {sum(policy.total.values()) / options.requests * 1e6:.1f} us a request of")
    gone = (cache.counters.evicted_states - evicted) / options.requests
    print(f"whole  {whole:.1f} us; {gone:.2f} states evicted a request")


if __name__ == "__main__":
    main()
