"""Processes that make the same calls decide alike, whatever their hash seed and clock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cachepawl

SCRIPT = """
import hashlib, random
from array import array
from cachepawl.policy.base import evict
from cachepawl.policy.lru import LRU
from cachepawl.tree import RadixTree
from cachepawl.types import Key, Runs

rng = random.Random(7)
tree = RadixTree(4)
decisions, receipts, page = [], [], 1
for step in range(1500):
    tokens = [rng.randrange(2) for _ in range(rng.randrange(1, 12) * 4)]
    key = Key(array("q", tokens).tobytes(), rng.choice([b"", b"a", b"b"]))
    match = tree.match(key, len(tokens) - 1)
    decisions.append((match.kv_len, match.usable_len))
    receipts.append(tree.lock(match.node).receipt)
    count = (len(tokens) - match.usable_len) // 4
    done = tree.insert(key, Runs([(page, count)]), owned_from=match.usable_len, state=page)
    page += count
    decisions.append((done.matched_len, done.duplicates.runs, done.state_taken))
    if len(receipts) > 5:
        tree.unlock(receipts.pop(rng.randrange(6)))
    while tree.full_evictable > 600:
        freed = evict(tree, LRU.victim(tree))
        decisions.append((freed.pages.runs, freed.states))
print(hashlib.sha256(repr(decisions).encode()).hexdigest(), len(decisions))
print(hashlib.sha256(tree.render(10**6).encode()).hexdigest())
"""


def test_two_hash_seeds() -> None:
    root = str(Path(cachepawl.__file__).parents[1])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(outputs) == 1
    assert int(outputs.pop().split()[1]) > 4000
