"""Which requests run: first in, first out, as many at once as the scenario says.

A request that does not fit beside those that run waits until the oldest of them ends.
Running answers grow evenly: each is complete when as many requests as may run at once
have come.  What a running answer will still need is kept free, so nothing is ever taken
back from a running request.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from cachepawl.evacuation import Admission
from cachepawl.offline.replay.life import Life
from cachepawl.offline.replay.measures import Measures, Seen
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.tiers import Found
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy.base import EvictionPolicy
from cachepawl.tree import Lock, Miss, Reason
from cachepawl.types import TOKEN_BYTES, Key


class _Admitted(NamedTuple):
    lock: Lock
    usable: int
    branch: int | None
    missed: list[Miss]


class Engine:
    """Plays requests against one cache and tells `measures` what it saw.

    `policy`: instead of the scenario's own, one that no server could have.
    """

    def __init__(
        self, scenario: Scenario, measures: Measures, policy: EvictionPolicy | None = None
    ) -> None:
        self.scenario = scenario
        self.measures = measures
        self.way = scenario.way
        self.cache = scenario.make_cache(policy)
        self.tiers = scenario.make_tiers(self.cache)
        self.running: deque[Life] = deque()
        self._rows = 0
        self._next_unknown = -1

    def play(self, requests: Iterable[TraceRequest]) -> None:
        """All requests, one after the other, until the last has ended."""
        for request in requests:
            self.admit(request)
        while self.running:
            self._end_oldest()
        self.measures.finish(self.cache)

    def admit(self, request: TraceRequest) -> None:
        """The next request arrives: make room for it, prefill it, let all answers grow."""
        cache, key = self.cache, request.key
        prompt = len(key.tokens) // TOKEN_BYTES
        while len(self.running) >= self.scenario.running:
            self._end_oldest()
        self.tiers.step(request.at, self._owed())
        most = cache.answer_limit(prompt)
        if most is None:
            self.measures.refuse(request.at, prompt)
            return
        # The last token of an answer is never fed back, so it has no KV.
        answer = min(max(request.output - 1, 0), most)
        self._rows += 1
        found = self._wait(key, prompt, answer)
        self.tiers.admitted(str(self._rows), found.lock.node)
        cache.begin(self._rows, key, int(request.at * 1000))
        life = Life(cache, self.way, self._rows, key, answer, found.lock, found.usable)
        life.published_to = self.tiers.published
        life.prefill(self.scenario.chunk, found.branch)
        self.running.append(life)
        self._grow_answers()
        self.tiers.step(request.at, self._owed())
        cache.frames.turned_to_kv.clear()  # there are no bytes to zero
        cache.check(self.scenario.check_level)
        self.measures.add(Seen(request.at, prompt, found.usable, found.missed), cache)

    def _wait(self, key: Key, prompt: int, answer: int) -> _Admitted:
        """Match, and end the oldest requests until this one fits; holds its prefix then."""
        cache = self.cache
        tail = answer + cache.geometry.page_tokens + 1

        def with_load(usable: int) -> bool:
            """Its tokens and states, and the state that is loaded."""
            tokens = prompt - usable + tail + self._owed()
            return cache.fits(tokens, self.way.slots + (self.way.slots > 0))

        while True:
            found = self.tiers.match(str(self._rows), key, prompt - 1, with_load)
            match = found.match
            lock = cache.lock(match.node)
            if self._has_way(prompt - match.usable_len + tail + self._owed()):
                return self._admitted(key, prompt, found, lock)
            cache.unlock(lock)
            cache.counters.admissions_refused += 1
            if self.running:
                self._end_oldest()
            elif not self.tiers.yield_room():
                return self._without_prefix(key, prompt)

    def _owed(self) -> int:
        return sum(life.owed for life in self.running)

    def _has_way(self, tokens: int) -> bool:
        """As a server asks, burst by burst; here nothing happens between its steps."""
        while (way := self.cache.make_way(tokens, self.way.slots)) is Admission.SOON:
            pass
        return way is Admission.OPEN

    def _admitted(self, key: Key, prompt: int, found: Found, lock: Lock) -> _Admitted:
        match, kv_len = found.match, min(found.kv_len, prompt - 1)
        branch = self.way.branch_point(kv_len, match.usable_len)
        missed = self.cache.tree.explain(key, match, prompt - 1)
        return _Admitted(lock, match.usable_len, branch, missed)

    def _without_prefix(self, key: Key, prompt: int) -> _Admitted:
        """Nothing runs and its own cached prefix is in the way: start from nothing."""
        cache = self.cache
        cache.counters.prefixes_dropped += 1
        match = cache.match(key, prompt - 1)
        branch = self.way.branch_point(min(match.kv_len, prompt - 1), 0)
        missed = [Miss(Reason.DROPPED, prompt, prompt)]
        return _Admitted(cache.lock(cache.tree.root), 0, branch, missed)

    def _grow_answers(self) -> None:
        for life in self.running:
            life.steps += 1
            life.decode_to(life.answer * min(life.steps, self.scenario.running)
                           // self.scenario.running)  # fmt: skip

    def _end_oldest(self) -> None:
        life = self.running.popleft()
        life.decode_to(life.answer)
        if self.scenario.answers == "publish" and life.answer:
            life.publish_answer(self._unknown(life.answer))
        life.end()
        self.cache.check(self.scenario.check_level)

    def _unknown(self, count: int) -> array[int]:
        """Tokens that no prompt has: the trace does not tell the answers."""
        self._next_unknown -= count
        return array("q", range(self._next_unknown + count, self._next_unknown, -1))
