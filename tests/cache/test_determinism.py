"""The same calls lead to the same decisions in any process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from array import array

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.policy.base import Victim
from cachepawl.policy.joint import Joint
from cachepawl.policy.lru import LRU
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock
from cachepawl.types import Key

STEPS = 400


class Short(Joint):
    """Tells the short texts here apart."""

    stride = 2


class Replay:
    """A seeded mix of requests over a small arena; every decision becomes a line."""

    def __init__(self, seed: int, policy: str) -> None:
        kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
        state = StateShape(1, (), 2, (5 * 4 * kv.entry_bytes // 4,), 4)
        self.cache = HybridPrefixCache(
            Geometry(kv, state, 4, 8),
            states_per_request=1,
            policy=Short() if policy == "joint" else LRU,
        )
        self.now = 0
        self.pauses = random.Random(seed)
        self.random = random.Random(seed)
        self.rows: dict[int, tuple[list[int], tuple[int, ...], Lock]] = {}
        self.lines: list[str] = []
        self.cache.carry = lambda done: self.say("moved", done.moves.every, done.rows)

    def begin(self, row: int, key: Key) -> None:
        self.now += self.pauses.choice([0, 50, 3000, 40_000])
        self.say("known", self.cache.begin(row, key, self.now))

    def say(self, *words: object) -> None:
        self.lines.append(" ".join(map(str, words)))

    def admit(self, row: int) -> None:
        tokens = [self.random.randrange(2) for _ in range(self.random.randrange(5, 40))]
        space = self.random.choice([b"", b"adapter"])
        found = self.cache.match(Key(array("q", tokens).tobytes(), space), len(tokens) - 1)
        lock = self.cache.lock(found.node)
        self.say("match", found.kv_len, found.usable_len)
        self.say("way", self.cache.make_way(len(tokens) - found.usable_len, 1).name)
        try:
            slots = self.cache.take_states(1)
            self.cache.open_row(row, found.node, found.usable_len)
            self.begin(row, Key(array("q", tokens).tobytes(), space))
            self.rows[row] = (tokens, slots, lock)
            self.say("pages", self.cache.allocate(row, len(tokens)), slots)
        except OutOfPages as shortage:
            self.say(shortage)
            self.finish(row, lock, shared=found.usable_len)

    def publish(self, row: int) -> None:
        tokens, slots, lock = self.rows[row]
        depth = len(tokens) // 4 * 4
        done = self.cache.publish(row, Key(array("q", tokens).tobytes()), depth, slots[0])
        self.say("publish", depth, done.replaced, done.state_taken)
        self.rows[row] = (tokens, () if done.state_taken else slots, lock)
        self.finish(row, lock, shared=depth)

    def finish(self, row: int, lock: Lock, shared: int) -> None:
        if row in self.rows:
            self.cache.release(row, shared, 10**6)
            self.cache.close_row(row)
            self.cache.free_states(self.rows.pop(row)[1])
        self.cache.unlock(lock)

    def reason(self, victim: Victim) -> str:
        return self.cache.policy.reason(self.cache.tree, victim)

    def run(self) -> str:
        for step in range(STEPS):
            if self.random.random() < 0.6 or not self.rows:
                self.admit(step)
            else:
                self.publish(self.random.choice(sorted(self.rows)))
            victim = self.cache.policy.victim(self.cache.tree)
            if victim is not None:
                self.say(victim.kind, victim.node.serial, self.reason(victim))
        self.cache.check(2)
        self.say(self.cache.stats())
        self.say(self.cache.tree.render())
        return "\n".join(self.lines)


def other_process(policy: str, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, __file__, policy],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("policy", ["lru", "joint"])
def test_hash_seeds_decide_nothing(policy: str) -> None:
    """Nor does where objects lie: other processes have them elsewhere."""
    here = Replay(1, policy).run()
    assert here.count("publish") > STEPS // 4
    assert "nothing more can be evicted" in here
    assert "moved" in here
    assert other_process(policy, "1") == other_process(policy, "2") == here + "\n"


if __name__ == "__main__":
    print(Replay(1, sys.argv[1]).run())
