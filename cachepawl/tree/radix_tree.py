"""The radix tree: which KV and which states are cached, in what order they would go.

Depths and lengths are tokens; a *page* is `page_tokens` tokens.  The tree owns
page ids and state slots, never memory: whatever leaves it is returned.  Only
`insert` changes the structure of what is cached, only evictions shrink it.

Costs: every verb costs the path it walks (one comparison of memory and a few
pointer moves a node), never the size of the tree.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.errors import LockError
from cachepawl.tree.checks import check_counters, check_everything
from cachepawl.tree.edges import shared_bytes
from cachepawl.tree.locks import Lock
from cachepawl.tree.lru import KvList, StateList
from cachepawl.tree.node import Node
from cachepawl.tree.refusals import why_not_evict, why_not_insert
from cachepawl.tree.results import Freed, InsertResult, Locked, Match
from cachepawl.tree.text import LINE_LIMIT, render
from cachepawl.types import NO_PAGES, TOKEN_BYTES, Key, Runs


class RadixTree:
    """Prefixes of token ids, with KV pages and states.

    `has_states` says whether the model has SSM layers: then KV is usable only up
    to a node with a state, and leaves without one go first.  Time is a counter of
    calls, so two processes that make the same calls decide alike.

    The counts below are exact, O(1) to read, and for callers read-only.
    """

    __slots__ = (
        "_clock",
        "_page_bytes",
        "full_evictable",
        "full_protected",
        "has_states",
        "kv_list",
        "num_nodes",
        "page_tokens",
        "root",
        "state_evictable",
        "state_list",
        "state_protected",
        "token_bytes",
    )

    full_evictable: int
    """Tokens of unlocked KV."""
    full_protected: int
    """Tokens of locked KV."""
    state_evictable: int
    """Unlocked state slots."""
    state_protected: int
    """Locked state slots."""
    num_nodes: int
    """Nodes, the root not counted."""

    def __init__(
        self, page_tokens: int, *, token_bytes: int = TOKEN_BYTES, has_states: bool = True
    ) -> None:
        """`page_tokens`: tokens a page.  `token_bytes`: bytes of one token id in a key.

        ValueError if either is less than 1.
        """
        if page_tokens < 1 or token_bytes < 1:
            raise ValueError(
                f"page_tokens {page_tokens} and token_bytes {token_bytes}: both must be at least 1"
            )
        self.page_tokens = page_tokens
        self.token_bytes = token_bytes
        self.has_states = has_states
        self._page_bytes = page_tokens * token_bytes
        self._clock = 0
        self.root = Node(b"", b"", None, 0, NO_PAGES)
        self._clear()

    def _clear(self) -> None:
        self.root.children = {}
        self.kv_list = KvList()
        self.state_list = StateList()
        self.full_evictable = 0
        self.full_protected = 0
        self.state_evictable = 0
        self.state_protected = 0
        self.num_nodes = 0

    @property
    def clock(self) -> int:
        """Logical time: the stamp of the latest use."""
        return self._clock

    # Looking up

    def match(self, key: Key, limit: int | None = None) -> Match:
        """What is cached of a key, and of that, what a request may use.

        `usable_len` is at most `limit` (default: the whole key); pass the length
        minus one so that the last token is always computed.  With states it is the
        end of the deepest node on the path that has one; without, it is all of the
        KV, down to the page.

        Changes recency only, never structure: the KV of the whole matched path
        becomes the newest, and of the states only the one to be used.
        """
        deepest, matched, used = self._walk(key, limit)
        if matched:
            self._clock = stamp = self._clock + 1
            self._lift_matched(deepest, stamp)
            if used.state is not None and not used.state_lock:
                self.state_list.lift(used, stamp)
        return self._answer(deepest, matched, used, limit)

    def peek(self, key: Key, limit: int | None = None) -> Match:
        """The answer of `match`.  Does not modify the tree."""
        return self._answer(*self._walk(key, limit), limit)

    def touch(self, key: Key) -> None:
        """Make the KV on a key's path the newest.  Leaves every state's recency as it is."""
        deepest, matched, _ = self._walk(key, 0)
        if matched:
            self._clock += 1
            self._lift_matched(deepest, self._clock)

    def _walk(self, key: Key, limit: int | None) -> tuple[Node, int, Node]:
        """Deepest node with a page on the path, matched bytes, deepest usable state.

        The state is that of the deepest node wholly on the path with `end <= limit`;
        the root if there is none.
        """
        tokens, namespace = key
        page_bytes = self._page_bytes
        node = used = self.root
        at = 0
        if len(tokens) < page_bytes:
            return node, at, used
        if limit is None:
            limit = len(tokens)
        child = node.children.get(namespace + tokens[:page_bytes])
        while child is not None:
            node = child
            edge = node.key
            if not tokens.startswith(edge, at):
                at += shared_bytes(edge, tokens, at, page_bytes)
                break
            at += len(edge)
            if node.state is not None and node.end <= limit:
                used = node
            child = node.children.get(tokens[at : at + page_bytes])
        return node, at, used

    def _answer(self, deepest: Node, matched: int, used: Node, limit: int | None) -> Match:
        kv_len = matched // self.token_bytes
        if self.has_states:
            return Match(kv_len, used.end, used, deepest)
        usable = kv_len if limit is None else max(min(kv_len, limit), 0)
        usable -= usable % self.page_tokens
        node = deepest
        while node.parent is not None and node.parent.end >= usable:
            node = node.parent
        return Match(kv_len, usable, node, deepest)

    def _lift_matched(self, node: Node, stamp: int) -> None:
        # A cold leaf stays where it is.  Of a locked one the stamp means nothing, but
        # then the path above is locked too and there is nothing to lift.
        start = node if node.kv_stamp else node.parent
        if start is not None:
            self.kv_list.lift_path(start, stamp)

    # Locking

    def lock(self, node: Node) -> Locked:
        """Keep the KV from the root to `node`, and the state of `node` alone, from eviction.

        A node without a state is counted as well, so a state that appears there
        later is protected until the same receipt is spent.  Locking the root locks
        nothing, yet its receipt too is spent once.  LockError for a node that is
        not in this tree (any more).
        """
        pages = self._lock_kv(node)
        if node is not self.root:
            if not node.state_lock and node.state is not None:
                self.state_list.remove(node)
                self.state_evictable -= 1
                self.state_protected += 1
            node.state_lock += 1
        return Locked(Lock(node, self.root, keeps_state=True), tuple(pages))

    def lock_path(self, node: Node) -> Locked:
        """Keep the KV from the root to `node` from eviction; the state may go.

        For a request that has its own copy of the state.  Otherwise as `lock`.
        """
        pages = self._lock_kv(node)
        if node is not self.root:
            node.path_lock += 1
        return Locked(Lock(node, self.root, keeps_state=False), tuple(pages))

    def _lock_kv(self, node: Node) -> list[Runs]:
        """Count one more lock on every node to the root; the pages of those that had none."""
        root = self.root
        top = node
        while (parent := top.parent) is not None:
            top = parent
        if top is not root:
            raise LockError(f"{node!r} is not in this tree: it was evicted; match again")
        pages: list[Runs] = []
        if node is not root:
            top = self.kv_list.take_path(node, pages)
            if pages:
                tokens = node.end - top.end
                self.full_evictable -= tokens
                self.full_protected += tokens
            while (parent := top.parent) is not None:
                top.full_lock += 1
                top = parent
        return pages

    def unlock(self, receipt: Lock) -> tuple[Runs, ...]:
        """Spend a receipt.  Returns the pages of nodes that no receipt locks any more.

        Counts as a use: what becomes evictable is the newest of its list.  LockError
        for a receipt that was spent before or that another tree made.
        """
        root = self.root
        if receipt.owner is not root:
            what = "was spent before" if receipt.owner is None else "belongs to another tree"
            raise LockError(f"{receipt!r} {what}: spend each receipt once, on the tree it is from")
        receipt.owner = None
        node = receipt.node
        if node is root:
            return ()
        self._clock = stamp = self._clock + 1
        if not receipt.keeps_state:
            node.path_lock -= 1
        else:
            node.state_lock -= 1
            if not node.state_lock and node.state is not None:
                self.state_list.put(node, stamp)
                self.state_evictable += 1
                self.state_protected -= 1
        pages: list[Runs] = []
        top = node
        if node.full_lock == 1 and self.has_states and not node.children and node.state is None:
            node.full_lock = 0
            pages.append(node.pages)
            self.kv_list.put_cold(node)
            assert node.parent is not None  # the root is never locked
            top = node.parent
        top = self.kv_list.put_path(top, stamp, pages)
        if pages:
            tokens = node.end - top.end
            self.full_evictable += tokens
            self.full_protected -= tokens
        while (parent := top.parent) is not None:
            top.full_lock -= 1
            top = parent
        return tuple(pages)

    # Growing

    def insert(self, key: Key, pages: Runs, *, owned_from: int, state: int | None) -> InsertResult:
        """Publish the KV, and maybe the state at the end, of a key.

            [0, owned_from)             held by the tree already, or ValueError
            [owned_from, matched_len)   cached meanwhile: the pages are returned as duplicates
            [matched_len, len)          a new leaf takes the pages

        `pages` are the caller's own of `[owned_from, len)`.  Ends on a node with
        `end == len`, splitting an edge if need be.  The state goes to that node if it
        has none; if not, `state_taken` is False and the slot stays the caller's.  The
        path becomes the newest, the end node's state with it.  An empty key changes
        nothing and returns the root.

        Length and `owned_from` are multiples of the page; ValueError, before anything
        is changed, for arguments that do not fit together.
        """
        tokens = key.tokens
        page_tokens = self.page_tokens
        length = len(tokens) // self.token_bytes
        if (
            len(tokens) % self._page_bytes
            or not 0 <= owned_from <= length
            or owned_from % page_tokens
            or pages.count * page_tokens != length - owned_from
            or (state is not None and not (length and self.has_states))
        ):
            raise ValueError(why_not_insert(self, len(tokens), pages.count, owned_from))
        node, at, _ = self._walk(key, 0)
        matched = at // self.token_bytes
        if matched < owned_from:
            raise ValueError(
                f"owned_from {owned_from}, but the tree holds {matched} tokens of this key; "
                "keep the prefix locked until the insert, or pass its pages too"
            )
        if not length:
            return InsertResult(node, 0, NO_PAGES, False)
        self._clock = stamp = self._clock + 1
        if node.end > matched:
            node = self._split(node, matched)
        known = (matched - owned_from) // page_tokens
        grows = matched < length
        if grows:
            node = self._grow(node, key, at, pages.slice(known, pages.count))
        taken = state is not None and node.state is None
        if taken:
            self._put_state(node, state, stamp)
        elif node.state is not None and not node.state_lock:
            self.state_list.lift(node, stamp)
        # A leaf that is or stays cold is not lifted; the path that it hangs on is.
        cold = self.has_states and node.state is None and not node.children
        if grows:
            if cold:
                self.kv_list.put_cold(node)
            else:
                self.kv_list.put_warm(node, stamp)
        start = node.parent if cold else node
        assert start is not None  # the key is not empty, so this is not the root
        self.kv_list.lift_path(start, stamp)
        duplicates = pages.slice(0, known) if known else NO_PAGES
        return InsertResult(node, matched, duplicates, taken)

    def _grow(self, parent: Node, key: Key, at: int, pages: Runs) -> Node:
        """Hang a leaf with the tokens from byte `at` on; it is on no list yet."""
        tokens, namespace = key
        hook = tokens[at : at + self._page_bytes]
        if not at:
            # Unambiguous: the part behind the namespace is one page long, always.
            hook = namespace + hook
        end = len(tokens) // self.token_bytes
        leaf = Node(tokens[at:], hook, parent, end, pages)
        parent.children[hook] = leaf
        self.num_nodes += 1
        self.full_evictable += end - parent.end
        return leaf

    def _put_state(self, node: Node, slot: int | None, stamp: int) -> None:
        node.state = slot
        if node.state_lock:
            self.state_protected += 1
        else:
            self.state_evictable += 1
            self.state_list.put(node, stamp)

    def _split(self, node: Node, at: int) -> Node:
        """Cut an edge at depth `at`; returns the new node, which ends there.

        The new node is the prefix: a tombstone, locked as often as the suffix.  The
        suffix stays the same object, with the state, its lock and all receipts.
        """
        parent = node.parent
        assert parent is not None  # the root has no edge
        cut = (at - parent.end) * self.token_bytes
        head, tail = node.pages.split((at - parent.end) // self.page_tokens)
        prefix = Node(node.key[:cut], node.hook, parent, at, head)
        parent.children[prefix.hook] = prefix
        node.key = node.key[cut:]
        node.hook = node.key[: self._page_bytes]
        node.pages = tail
        node.parent = prefix
        prefix.children[node.hook] = node
        prefix.full_lock = node.full_lock
        if not prefix.full_lock:
            if node.kv_stamp:
                self.kv_list.put_above(prefix, node)
            else:
                self.kv_list.put_warm(prefix, self._clock)
        self.num_nodes += 1
        return prefix

    # Shrinking

    def kv_victim(self) -> Node | None:
        """The leaf whose KV goes first, or None if all KV is locked.  O(1).

        Leaves without a state that nothing can use come first, then by last use.
        Does not modify the tree.
        """
        return self.kv_list.oldest()

    def state_victim(self) -> Node | None:
        """The node whose state goes first, or None if all are locked.  O(1).

        Does not modify the tree.
        """
        return self.state_list.oldest()

    def evict_kv(self, node: Node) -> Freed:
        """Remove an unlocked leaf with its pages and its state.

        In a tree with states, parents that are left as unlocked leaves without a state
        go with it, as nothing can use them.  ValueError, and no change, for any other
        node.  Cost: the nodes removed.
        """
        parent = node.parent
        if parent is None or node.children or node.full_lock:
            raise ValueError(f"cannot evict the KV of {node!r}: {why_not_evict(node)}")
        last = node.end
        pages = []
        states = []
        while True:
            self.kv_list.remove(node)
            pages.append(node.pages)
            if node.state is not None:
                states.append(self._drop_state(node))
            del parent.children[node.hook]
            _retire(node)
            if not self.has_states or parent.children or parent.full_lock:
                break
            if parent.state is not None or parent.parent is None:
                break
            node, parent = parent, parent.parent
        self.full_evictable -= last - parent.end
        self.num_nodes -= len(pages)
        return Freed(pages[0] if len(pages) == 1 else Runs.concat(pages), tuple(states), len(pages))

    def evict_state(self, node: Node) -> Freed:
        """Free the state of a node, not its KV.  O(1).

        An inner node becomes a tombstone; an unlocked leaf becomes one that goes first.
        ValueError, and no change, for a node without a state or with a locked one.
        """
        if node.state is None or node.state_lock:
            raise ValueError(f"cannot evict the state of {node!r}: {why_not_evict(node)}")
        slot = self._drop_state(node)
        if not node.children and not node.full_lock:
            self.kv_list.remove(node)
            self.kv_list.put_cold(node)
        return Freed(NO_PAGES, (slot,), 0)

    def _drop_state(self, node: Node) -> int:
        slot = node.state
        assert slot is not None
        node.state = None
        self.state_list.remove(node)
        del node.state_newer, node.state_older
        self.state_evictable -= 1
        return slot

    def reset(self) -> Freed:
        """Remove everything.  LockError, and no change, while anything is locked.

        Cost: the size of the tree.
        """
        if self.full_protected:
            raise LockError(
                f"{self.full_protected} tokens and {self.state_protected} states are locked; "
                "spend the receipts before a reset"
            )
        pages = []
        states = []
        nodes = list(self.walk())
        for node in nodes:
            pages.append(node.pages)
            if node.state is not None:
                states.append(node.state)
                node.state = None
                del node.state_newer, node.state_older
            node.children = {}
        for node in nodes:
            _retire(node)
        self._clear()
        return Freed(Runs.concat(pages), tuple(states), len(nodes))

    # Looking at it

    def path_pages(self, node: Node) -> Runs:
        """Pages from the root to the end of `node`, in token order.  Cost: the path."""
        parts = []
        while (parent := node.parent) is not None:
            parts.append(node.pages)
            node = parent
        return Runs.concat(reversed(parts))

    def walk(self) -> Iterator[Node]:
        """Every node but the root, parents before children, siblings oldest first.

        Valid while the tree is not changed.
        """
        todo = list(reversed(self.root.children.values()))
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children.values()))

    def check(self, level: int) -> None:
        """Check the invariants; InvariantError names the one that fails and dumps the tree.

        Level 0: nothing.  1: counters and list ends, O(1).  2: everything, O(tree).
        Does not modify the tree.
        """
        if level >= 1:
            check_counters(self)
        if level >= 2:
            check_everything(self)

    def render(self, max_lines: int = LINE_LIMIT) -> str:
        """The tree as text, for people.  Does not modify the tree."""
        return render(self, max_lines)


def _retire(node: Node) -> None:
    """Make an unlinked node unusable, so that a stale reference fails at once."""
    node.parent = None
    node.pages = NO_PAGES
    del node.kv_newer, node.kv_older
