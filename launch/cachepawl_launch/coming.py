"""States that are being computed: whoever begins with the same tokens may wait for one.

Several chats under a new system prompt that arrive together would all compute it.  One forward
later its state is in the tree, and all but the first hit it.
"""

from __future__ import annotations

from cachepawl.types import TOKEN_BYTES, Key

WORTH_WAITING = 64
"""Tokens; fewer are computed sooner than another forward begins."""
MOST_WAITS = 4
"""Times that one request waits at most.  Each is for a state that is on its way: one at another's
mark and one at its end, each a forward late where results overlap with forwards."""

_Start = tuple[bytes, bytes]


class ComingStates:
    """What the requests under way will leave in the tree, by request id; nothing is locked.

    An entry promises nothing: the snapshot may find no room, and its request may be aborted.  So
    nobody waits more than `MOST_WAITS` times, and then computes what it needs.  Decisions depend
    on the order of calls alone, which is the same on all ranks.
    """

    def __init__(self) -> None:
        self._prefixes: dict[_Start, dict[str, bytes]] = {}
        """Tokens up to the state, by their first tokens, so that few are compared."""
        self._starts: dict[str, _Start] = {}
        self._waited: dict[str, tuple[int, int]] = {}
        """How often a request has waited, and what it had before."""

    def clear(self) -> None:
        self._prefixes.clear()
        self._starts.clear()
        self._waited.clear()

    def expect(self, rid: str, key: Key, depth: int) -> None:
        """The request's next state will be at `depth` tokens of `key`; replaces an earlier one."""
        self.gone(rid)
        if depth < WORTH_WAITING or len(key.tokens) < depth * TOKEN_BYTES:
            return
        start = _start(key)
        self._starts[rid] = start
        self._prefixes.setdefault(start, {})[rid] = key.tokens[: depth * TOKEN_BYTES]

    def gone(self, rid: str) -> None:
        """Nothing is expected of the request any more: its state is published, or never will be."""
        start = self._starts.pop(rid, None)
        if start is not None:
            same = self._prefixes[start]
            del same[rid]
            if not same:
                del self._prefixes[start]

    def deepest(self, key: Key, limit: int) -> int:
        """The deepest coming state that a match of `key` up to `limit` could use; 0 if none.

        Costs one comparison of bytes for each prefix under way that begins alike.
        """
        coming = self._prefixes.get(_start(key), {}).values()
        usable = (
            len(prefix) // TOKEN_BYTES
            for prefix in coming
            if len(prefix) <= limit * TOKEN_BYTES and key.tokens.startswith(prefix)
        )
        return max(usable, default=0)

    def wait(self, rid: str, key: Key, usable: int, limit: int) -> bool:
        """Whether the request, which has `usable` tokens now, should wait; counts its waits."""
        times, had = self._waited.get(rid, (0, usable))
        if times >= MOST_WAITS or self.deepest(key, limit) < usable + WORTH_WAITING:
            return False
        self._waited[rid] = times + 1, had
        return True

    def waits(self, rid: str) -> int:
        """How often the request has waited."""
        return self._waited.get(rid, (0, 0))[0]

    def end_waiting(self, rid: str, usable: int) -> bool:
        """The request begins with `usable` tokens, or is gone.  Whether it waited for some."""
        times, had = self._waited.pop(rid, (0, 0))
        return bool(times) and usable > had


def _start(key: Key) -> _Start:
    return key.namespace, key.tokens[: WORTH_WAITING * TOKEN_BYTES]
