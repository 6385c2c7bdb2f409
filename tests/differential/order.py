"""A tree beside the model that foretells it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from paths import Path
from rules import Model, Rules, Window
from subjects import Subject
from walk import DEPTH, Paths


class Foretold:
    """A tree and a model under the same calls: each answer must be the foretold one."""

    def __init__(self, subject: Subject, rules: Rules) -> None:
        self.subject = subject
        self.model = Model(rules, subject.page, subject.has_states, subject.window)
        self.receipts: list[Any] = []
        self.fresh_page = count(1)
        self.fresh_slot = count(1)

    def match(self, path: Path, limit: int | None) -> None:
        usable, found = self.model.match(path, limit)
        pages = self.model.path_pages(path[: usable + 1])
        assert self.subject.match(path, limit) == (usable, found, pages)

    def insert(self, path: Path, first: int, window_from: int | None = None) -> None:
        """With a state at the end, where there are states: SGLang's core knows no other."""
        if len(path) == 1:
            return
        first = min(first, len(self.model.hit(path)) - 1)
        cached = self.model.path_pages(path[: first + 1])
        own = self._fresh(len(path) - 1 - first)
        window: Window | None = None
        if self.subject.window is not None and window_from is not None:
            window_from = max(window_from, first)
            if window_from < len(path) - 1:
                window = window_from, self._fresh(len(path) - 1 - window_from)
        slot = next(self.fresh_slot) if self.subject.has_states else None
        spare = self.model.insert(path, own, first, slot, window)
        assert self.subject.insert(path, cached + own, first, slot, window) == spare

    def _fresh(self, pages: int) -> list[int]:
        return [next(self.fresh_page) for _ in range(pages)]

    def lock(self, path: Path, keep_state: bool) -> None:
        """What a match would use: an edge's end, whoever has split what."""
        usable = self.model.usable(self.model.hit(path))
        end = next(iter(self.model.on_path(usable)), None)
        if end is not None:
            self.receipts.append(self.subject.lock(end, keep_state))
            self.model.lock(end, keep_state)

    def unlock(self, which: int) -> None:
        if self.receipts:
            which %= len(self.receipts)
            self.subject.unlock(self.receipts.pop(which))
            self.model.unlock(which)

    def evict_kv(self, pages: int) -> None:
        assert self.subject.evict_kv(pages) == self.model.evict_kv(pages)

    def evict_states(self, states: int) -> None:
        assert self.subject.evict_states(states) == self.model.evict_states(states)

    def evict_window(self, pages: int) -> None:
        assert self.subject.evict_window(pages) == self.model.evict_window(pages)

    def agree(self) -> None:
        self.model.settle()
        assert self.subject.sizes() == self.model.sizes()
        assert self.subject.window_sizes() == self.model.window_sizes()

    def check(self) -> None:
        self.subject.check()

    def moves(self, paths: Paths) -> list[tuple[int, Callable[[], object]]]:
        draw, r = paths.draw, paths.random

        def insert() -> None:
            first = r.randrange(DEPTH + 1)
            self.insert(draw(), first, r.choice((first, first, r.randrange(DEPTH + 1), None)))

        def when_full(move: Callable[[], object]) -> Callable[[], object]:
            return lambda: move() if r.randrange(40) < len(self.model.used) else None

        moves: list[tuple[int, Callable[[], object]]] = [
            (30, lambda: self.match(draw(), r.randrange(DEPTH + 1) if r.random() < 0.3 else None)),
            (24, insert),
            (8, lambda: self.lock(draw(), r.random() < 0.7)),
            (9, lambda: self.unlock(r.randrange(99))),
            (12, when_full(lambda: self.evict_kv(r.choice((1, 1, 4))))),
        ]
        if self.subject.has_states:
            moves.append((8, when_full(lambda: self.evict_states(r.choice((1, 1, 3))))))
        if self.subject.window is not None:
            moves.append((4, when_full(lambda: self.evict_window(r.choice((1, 1, 3))))))
        return moves
