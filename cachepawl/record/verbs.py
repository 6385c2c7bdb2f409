"""What a line of the log says: the verbs of the cache and of its host tier, and their fields.

A line is a JSON array `[verb, milliseconds since the line before, *fields]`; fields are the
arguments of the call, then what it answered.  Both sides of the format read this table:
the writer to encode, the reader to check.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

FORMAT = "cachepawl-trace"
VERSION = 1


class Kind(Enum):
    """What a field holds in the log."""

    KEY = "key"
    """`[segment, pages, rest]`: whole pages on the path to a segment, and tokens beyond."""
    INT = "integer"
    MAYBE = "integer or null"
    FLAG = "boolean"
    INTS = "integers"
    MAYBE_INTS = "integers or null"
    """null: the arena had no room."""
    ROWS = "rows"
    """Integers; null for those of the line of this verb before."""
    SUM = "sum"
    """The sum of page ids, enough to tell one answer from another; null: no room."""
    NAME = "name"
    """A salted hash of a name."""
    TEXT = "text"
    MISSES = "misses"
    """Arrays `[reason, tokens, depth, age or null, policy]`."""


class Verb(NamedTuple):
    """The fields of a line: what was asked, then what was answered."""

    asked: tuple[Kind, ...]
    answered: tuple[Kind, ...] = ()

    @property
    def fields(self) -> tuple[Kind, ...]:
        return self.asked + self.answered


_KEY, _INT, _MAYBE, _FLAG = Kind.KEY, Kind.INT, Kind.MAYBE, Kind.FLAG

CALLS = {
    "match": Verb((_KEY, _MAYBE), (_INT, _INT, _INT)),  # limit; KV, usable, node
    "touch": Verb((_KEY,)),
    "lock": Verb((_INT, _INT)),  # node, receipt
    "lock_path": Verb((_INT, _INT)),
    "unlock": Verb((_INT,)),  # receipt
    "begin": Verb((_KEY, _INT, _INT, Kind.INTS)),
    # row, when it came in milliseconds, what the policy recalled of the key
    "open_row": Verb((_INT, _INT, _INT)),  # row, node, tokens
    "allocate": Verb((_INT, _INT), (Kind.MAYBE_INTS,)),  # row, tokens; first page, pages, ...
    "next_pages": Verb((Kind.ROWS,), (Kind.SUM,)),
    "publish": Verb((_KEY, _INT, _INT, _MAYBE), (_INT, _FLAG, _FLAG)),
    # row, depth, slot; node, replaced, state taken
    "note_locked_out": Verb((_KEY, _INT)),  # depth
    "release": Verb((_INT, _INT, _INT)),  # row, start, stop
    "close_row": Verb((_INT,)),
    "take_states": Verb((_INT,), (Kind.MAYBE_INTS,)),
    "try_states": Verb((_INT,), (Kind.MAYBE_INTS,)),
    "free_states": Verb((Kind.INTS,)),
    "try_checkpoint": Verb((), (_MAYBE,)),
    "drop_checkpoint": Verb((_INT,)),
    "make_room_for_pages": Verb((_INT,), (_FLAG,)),
    "make_room_for_states": Verb((_INT,), (_FLAG,)),
    "make_way": Verb((_INT, _INT), (Kind.TEXT,)),  # tokens, states; a name of `Admission`
    "evict_tokens": Verb((_INT,), (_INT,)),
    "evict_states": Verb((_INT,), (_INT,)),
    "reset": Verb((_INT,)),  # the latest serial of a node
}
"""Calls of `HybridPrefixCache` that change it.  Nodes are named by their serials."""

TIER_CALLS = {
    "host_match": Verb((_KEY, _MAYBE), (_INT, _INT, _INT, _INT, _MAYBE, _INT)),
    # limit; KV, usable and node on the device; usable after a load, node on the host, tokens
    # to load
    "host_load": Verb((Kind.NAME,), (Kind.TEXT, Kind.INTS)),
    # what the latest match found; a name of `Load`, where the bytes go on the device
    "host_used": Verb((_INT,)),  # node
    "host_published": Verb((_INT, _FLAG)),  # node, state taken
    "host_retract": Verb((Kind.NAME, _INT)),  # node
    "host_back_up": Verb((Kind.NAME, _INT), (_FLAG,)),  # node; whether it is being written
    "host_goes_on": Verb((Kind.NAME, _INT)),  # cached tokens
    "host_settle": Verb((Kind.NAME,)),
    "host_yield_holds": Verb(()),
    "host_ride": Verb((Kind.NAME, _INT), (_MAYBE,)),  # row; slot
    "host_get_off": Verb((Kind.NAME,)),
    "host_rides_ended": Verb((), (Kind.INTS,)),  # row, node, row, node, ...
    "host_poll": Verb((_INT, _INT, _FLAG, Kind.TEXT), (Kind.INTS,)),
    # write-backs and loads that ended, whether all is well, else why not; see
    # `recording_tier.TIER_SIZES`
    "host_end_loads": Verb((_INT, _FLAG, Kind.TEXT), (Kind.INTS,)),
    "host_end_writes": Verb((_INT, _FLAG, Kind.TEXT), (Kind.INTS,)),
    # how many ended, whether the last of them is well as the others are, and the rest as in
    # `host_poll`; a poll in which one has failed is written as these two and a `host_poll`
    "host_reset": Verb((_INT, _INT, Kind.TEXT)),
    # the latest serials on the device and on the host; why the host is out of use, if it is
    "host_drain": Verb((), (Kind.INTS,)),
}
"""Calls of `HostTier`, each with all that it did to either tier."""

TIER_NOTES = {
    "host_brought": Verb((Kind.NAME, _INT), (_INT,)),
    # A request is admitted: cached tokens, those of them that were loaded for it.
    "host_sizes": Verb((), (Kind.INTS,)),
}

NOTES = {
    "asked": Verb((Kind.NAME, _INT, _INT, _MAYBE), (Kind.MISSES,)),
    # The latest match was for this request: prompt, usable, branch point; why not more.
    "ended": Verb((Kind.NAME, _INT, _INT, _INT, Kind.TEXT)),
    # It gave its row back: row, cached tokens by the server's count, answered tokens, how.
    "sizes": Verb((), (Kind.INTS,)),  # see `recording.SIZES`
}
"""What the calls were for, and how large everything is now and then."""

GAP = "gap"
"""`["gap", milliseconds, lines]`: so many lines were lost here."""
CHANGES = frozenset(CALLS | TIER_CALLS)
"""All calls; the rest are notes."""
VERBS = {**CALLS, **TIER_CALLS, **TIER_NOTES, **NOTES, GAP: Verb((_INT,))}

SPACE = "space"
"""`["space", id, hash]`: a namespace, the start of paths; the hash of the usual one is empty."""
SEGMENT = "seg"
"""`["seg", id, parent, page, hashes]`: pages behind page `page` of the path to a parent."""
FORGET = "forget"
"""`["forget"]`: no segment before this line is named again; ids start anew."""
END = "end"
"""`["end"]`: the recording was closed; what follows was never recorded."""
