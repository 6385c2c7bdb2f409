"""The radix tree: which KV and which states are cached, in what order they would go.

Depths and lengths are tokens; a *page* is `page_tokens` tokens.  The tree owns page ids
and state slots, never memory: whatever leaves it is returned.  Only `insert` changes the
structure of what is cached, only evictions shrink it.

A model keeps any of three kinds: full KV of the whole path, window KV of its last tokens,
states at ends of nodes.  A prefix may be used where all kinds of the model are there.

Costs: every verb costs the path it walks (one comparison of memory and a few pointer
moves a node), never the size of the tree.
"""

from __future__ import annotations

from cachepawl.errors import ArgumentError, LockError, OwnershipError
from cachepawl.tree.checks import check_counters, check_everything
from cachepawl.tree.hashes import edge_hashes
from cachepawl.tree.locks import Lock
from cachepawl.tree.misses import Miss, explain
from cachepawl.tree.node import LOCKED_OUT, Gone, Node
from cachepawl.tree.refusals import (
    refuse_depth,
    refuse_eviction,
    refuse_insert,
    refuse_stranger,
)
from cachepawl.tree.results import Freed, InsertResult, Locked, Match
from cachepawl.tree.structure import Trie, retire
from cachepawl.tree.text import LINE_LIMIT, render
from cachepawl.tree.windows import WindowPart
from cachepawl.types import NO_PAGES, Key, Runs


class RadixTree(Trie):
    """Prefixes of token ids, with what is kept of them.

    With states KV is usable only up to a node with a state; with a window only where the
    window before is unbroken.  Leaves that nothing can use go first.  Time is a counter of
    calls, so two processes that make the same calls decide alike.
    """

    __slots__ = ()

    # Looking up

    def match(self, key: Key, limit: int | None = None) -> Match:
        """What is cached of a key, and of that, what a request may use.

        `usable_len` is at most `limit` (default: the whole key); pass the length
        minus one so that the last token is always computed.  With states it is the
        end of a node on the path that has one, with a window the tokens before it are
        unbroken; the deepest such depth.  Without both it is all of the KV, down to the page.
        A key that ends inside a page counts up to the page.

        Changes recency only, never structure: the KV of the whole matched path becomes
        the newest, and of windows and states only what is to be used.  ArgumentError for
        a key beyond `max_tokens`.
        """
        deepest, matched, used = self._walk(key, limit)
        found = self._answer(deepest, matched, used, limit)
        if matched:
            self._clock = stamp = self._clock + 1
            self._lift_matched(deepest, stamp)
            used = found.node
            if used.state is not None:
                if used.state_lock:
                    used.state_stamp = stamp
                else:
                    self.state_list.lift(used, stamp)
            if self.windows is not None:
                self.windows.lift(used, found.usable_len, stamp)
        return found

    def peek(self, key: Key, limit: int | None = None) -> Match:
        """The answer of `match`.  Does not modify the tree."""
        return self._answer(*self._walk(key, limit), limit)

    def touch(self, key: Key) -> None:
        """Make the KV on a key's path the newest.  Leaves windows and states as they are."""
        deepest, matched, _ = self._walk(key, 0)
        if matched:
            self._clock += 1
            self._lift_matched(deepest, self._clock)

    def use(self, node: Node) -> None:
        """Make the KV on the path to a node, and its state, the newest.  Cost: the path.

        As a match that uses this node.  UnknownNode for a node that is not in this tree.
        """
        if node.owner is not self.root:
            refuse_stranger(node)
        self._clock = stamp = self._clock + 1
        self._lift_matched(node, stamp)
        if node.state is not None and not node.state_lock:
            self.state_list.lift(node, stamp)

    def explain(
        self, key: Key, found: Match, limit: int | None = None, elsewhere: int = 0
    ) -> list[Miss]:
        """Why the tokens beyond `found.usable_len` cannot be used, in order; they add up.

        `found` is the answer for this very key and limit, and the tree has not changed
        since.  `elsewhere`: the depth that another tier could serve; what lies before it is
        missing here only.  Does not modify the tree.  Cost: the nodes between what can be used
        and what is cached, and the ghosts of what was evicted behind it.
        """
        return explain(self, key, found, limit, elsewhere)

    def page_hashes(self, node: Node) -> bytes:
        """Hashes of the pages on a node's edge, 32 bytes each; see `hashes`.

        Computed when first asked for.  UnknownNode for a node that is not in this tree.
        """
        if node.owner is not self.root:
            refuse_stranger(node)
        return edge_hashes(node, self.page_tokens, self.token_bytes)

    def _answer(self, deepest: Node, matched: int, used: Node, limit: int | None) -> Match:
        kv_len = matched // self.token_bytes
        if self.has_states:
            if self.windows is None:
                return Match(kv_len, used.end, used, deepest)
            node, usable = self.windows.usable(used, used.end, True)
            return Match(kv_len, usable, node, deepest)
        usable = kv_len if limit is None else max(min(kv_len, limit), 0)
        usable -= usable % self.page_tokens
        node = deepest
        while node.parent is not None and node.parent.end >= usable:
            node = node.parent
        if self.windows is not None:
            node, usable = self.windows.usable(node, usable, False)
        return Match(kv_len, usable, node, deepest)

    def _lift_matched(self, node: Node, stamp: int) -> None:
        # A cold leaf stays where it is.  Of a locked one the stamp means nothing, but
        # then the path above is locked too and there is nothing to lift.
        start = node if node.kv_stamp else node.parent
        if start is not None:
            self.kv_list.lift_path(start, stamp)

    # Locking

    def lock(self, node: Node, depth: int | None = None) -> Locked:
        """Keep the KV from the root to `node`, its window and its state from eviction.

        The state is that of `node` alone, the window that of the tokens before `depth`
        (default: the end of the node), which lies on its edge.  A node without a state or
        without window pages is counted as well, so what appears there later is protected
        until the same receipt is spent.  Locking the root locks nothing, yet its receipt
        too is spent once.  LockError for a node that is not in this tree (any more),
        ArgumentError for a depth that is not on its edge.
        """
        locked = self._lock(node, depth, keeps_state=True)
        if node is not self.root:
            if not node.state_lock and node.state is not None:
                self.state_list.remove(node)
                self.state_evictable -= 1
                self.state_protected += 1
            node.state_lock += 1
        return locked

    def lock_path(self, node: Node, depth: int | None = None) -> Locked:
        """Keep the KV from the root to `node`, and its window, from eviction; the state may go.

        For a request that has its own copy of the state.  Otherwise as `lock`.
        """
        return self._lock(node, depth, keeps_state=False)

    def _lock(self, node: Node, depth: int | None, *, keeps_state: bool) -> Locked:
        root = self.root
        if node.owner is not root:
            raise LockError(f"{node!r} is not in this tree: it was evicted; match again")
        if depth is None:
            depth = node.end
        elif not node.start <= depth <= node.end:
            refuse_depth(node, depth)
        boundary = self.windows.lock(node, depth) if self.windows is not None else 0
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
        receipt = Lock(node, root, keeps_state=keeps_state, boundary=boundary)
        self.open_locks.add(receipt)
        return Locked(receipt, tuple(pages))

    def unlock(self, receipt: Lock) -> tuple[Runs, ...]:
        """Spend a receipt.  Returns the pages of nodes that no receipt locks any more.

        Counts as a use: what becomes evictable is the newest of its list.  LockError
        for a receipt that was spent before or that this tree did not make.
        """
        return self._unlock(receipt, used=True)

    def unlock_unused(self, receipt: Lock) -> tuple[Runs, ...]:
        """As `unlock`, for who only kept it from eviction: no use.

        What becomes evictable goes back among the others by its last use.  If that place is
        not near the oldest end, it becomes the newest all the same; so do windows.
        """
        return self._unlock(receipt, used=False)

    def _unlock(self, receipt: Lock, *, used: bool) -> tuple[Runs, ...]:
        node = self._spend(receipt)
        if node is None:
            return ()
        self._clock = stamp = self._clock + 1
        if receipt.keeps_state:
            self._unlock_state(node, stamp, used=used)
        if self.windows is not None:
            self.windows.unlock(node, receipt.boundary, stamp)
        top, pages = self._put_cold_leaf(node)
        put = self.kv_list.put_path if used else self.kv_list.put_path_back
        top = put(top, stamp, pages)
        if pages:
            tokens = node.end - top.end
            self.full_evictable += tokens
            self.full_protected -= tokens
        while (parent := top.parent) is not None:
            top.full_lock -= 1
            if used:
                top.kv_stamp = stamp
            top = parent
        return tuple(pages)

    def _unlock_state(self, node: Node, stamp: int, *, used: bool) -> None:
        node.state_lock -= 1
        if node.state is None:
            return
        if not node.state_lock:
            put = self.state_list.put if used else self.state_list.put_back
            put(node, stamp)
            self.state_evictable += 1
            self.state_protected -= 1
        elif used:
            node.state_stamp = stamp

    def _spend(self, receipt: Lock) -> Node | None:
        """Its node, or None for the root.  LockError for a receipt that is not open here."""
        if receipt not in self.open_locks:
            spent = receipt.owner is None
            what = "was spent before" if spent else "is forged or belongs to another tree"
            raise LockError(f"{receipt!r} {what}: spend each receipt once, on the tree it is from")
        self.open_locks.remove(receipt)
        receipt.owner = None
        return None if receipt.node is self.root else receipt.node

    def _put_cold_leaf(self, node: Node) -> tuple[Node, list[Runs]]:
        """A leaf that nothing can use goes first.  Returns what of the path is still locked."""
        pages: list[Runs] = []
        top = node
        if node.full_lock == 1 and not node.children and self._useless(node):
            node.full_lock = 0
            pages.append(node.pages)
            self.kv_list.put_cold(node)
            assert node.parent is not None  # the root is never locked
            top = node.parent
        return top, pages

    # Moving

    def locked_nodes(self) -> list[Node]:
        """Every node with locked KV, by serial: the same order in every process.

        Reached from the open receipts.  Costs these nodes.
        """
        found: dict[int, Node] = {}
        for receipt in self.open_locks:
            node = receipt.node
            while (parent := node.parent) is not None and node.serial not in found:
                found[node.serial] = node
                node = parent
        return [found[serial] for serial in sorted(found)]

    def move_pages(self, node: Node, pages: Runs) -> None:
        """The full KV of a node lies in other pages now.  Recency and locks stay as they are.

        UnknownNode for a node that is not in this tree, ArgumentError for another number of
        pages, OwnershipError for a page that another node owns; nothing is changed then.
        Cost: the runs, and one byte a page of the node.
        """
        if node.owner is not self.root:
            refuse_stranger(node)
        if pages.count != node.pages.count:
            raise ArgumentError(f"{pages.count} pages for the {node.pages.count} of {node!r}")
        self.owned_pages.release(node.pages)
        try:
            self.owned_pages.claim(pages)
        except ArgumentError:
            self.owned_pages.claim(node.pages)
            raise
        node.pages = pages

    def move_state(self, node: Node, slot: int) -> None:
        """The state of a node lies in another slot now.  Recency and locks stay as they are.

        UnknownNode for a node that is not in this tree, ArgumentError for one without a
        state, OwnershipError for a slot that the tree owns; nothing is changed then.
        """
        if node.owner is not self.root:
            refuse_stranger(node)
        if node.state is None:
            raise ArgumentError(f"{node!r} has no state to move")
        if slot in self.owned_slots:
            raise OwnershipError(f"state slot {slot} is another node's: {node!r} cannot move there")
        self.owned_slots.discard(node.state)
        self.owned_slots.add(slot)
        node.state = slot

    # Growing

    def insert(
        self,
        key: Key,
        pages: Runs,
        *,
        owned_from: int,
        state: int | None,
        window: WindowPart | None = None,
    ) -> InsertResult:
        """Publish the KV, and maybe the state at the end, of a key.

            [0, owned_from)             held by the tree already, or ArgumentError
            [owned_from, matched_len)   cached meanwhile: the pages are returned as duplicates
            [matched_len, len)          a new leaf takes the pages
            [window.start, len)         tombstones take the window pages, the rest is returned

        `pages` are the caller's own of `[owned_from, len)`; none in a tree without full KV.
        `window` are its own window pages, from `owned_from` on or later; None is none of them.
        Ends on a node with `end == len`, splitting an edge if need be.  The state goes to that
        node if it has none; if not, `state_taken` is False and the slot stays the caller's.
        The path becomes the newest, and of windows and states those of the end.  An empty
        key changes nothing and returns the root.

        Length, `owned_from` and `window.start` are multiples of the page.  ArgumentError for
        arguments that do not fit together, OwnershipError for a page or a slot that the tree
        owns already, before anything is changed.
        """
        length = len(key.tokens) // self.token_bytes
        node, at, _ = self._walk(key, 0)
        matched = at // self.token_bytes
        refuse_insert(self, key, pages, owned_from, matched, state, window)
        if not length:
            return InsertResult(node, 0, NO_PAGES, False)
        known = (matched - owned_from) // self.page_tokens
        duplicates, fresh = pages.split(min(known, pages.count)) if known else (NO_PAGES, pages)
        self._claim(duplicates, fresh, window)
        self._clock = stamp = self._clock + 1
        if node.end > matched:
            node = self._split(node, matched)
        grows = matched < length
        if grows:
            node = self._grow(node, key, at, fresh)
            self.kv_list.put_warm(node, stamp)
        taken = state is not None and node.state is None
        if state is not None and taken:
            self._put_state(node, state, stamp)
        elif node.state is not None and not node.state_lock:
            self.state_list.lift(node, stamp)
        spare = self._fill_windows(node, window, stamp)
        self._lift_inserted(node, stamp, grows)
        return InsertResult(node, matched, duplicates, taken, spare)

    def _claim(self, duplicates: Runs, fresh: Runs, window: WindowPart | None) -> None:
        """Own what is new.  OwnershipError, and no change, where something is owned already."""
        self.owned_pages.claim(fresh)
        try:
            self.owned_pages.refuse_owned(duplicates)
            if window is not None:
                self.owned_windows.claim(window.pages)
        except ArgumentError:
            self.owned_pages.release(fresh)
            raise

    def _fill_windows(self, node: Node, part: WindowPart | None, stamp: int) -> Runs:
        if self.windows is None:
            return NO_PAGES
        spare = NO_PAGES
        if part is not None:
            had, filled = self.windows.fill(node, part, self._split, stamp)
            spare = Runs.concat(reversed(had))
            self.owned_windows.release(spare)
            if self.events is not None:
                for below in reversed(filled):
                    self.events.stored("window", below)
        self.windows.lift(node, node.end, stamp)
        return spare

    def _lift_inserted(self, node: Node, stamp: int, grown: bool) -> None:
        """The path is the newest, but for a leaf that nothing can use."""
        cold = not node.children and self._useless(node)
        if not cold:
            self.kv_list.lift_path(node, stamp)
            return
        if grown:
            self.kv_list.remove(node)
            self.kv_list.put_cold(node)
        assert node.parent is not None  # the key is not empty, so this is not the root
        self.kv_list.lift_path(node.parent, stamp)

    def note_locked_out(self, node: Node) -> None:
        """A state was wanted at the end of a node, and all memory was locked: say so later."""
        if node.owner is self.root and node.state is None:
            node.state_gone = Gone(self._clock, LOCKED_OUT)

    # Shrinking

    def kv_victim(self) -> Node | None:
        """The leaf whose KV goes first, or None if all KV is locked.  O(1).

        Leaves that nothing can use come first, then by last use.  Does not modify the tree.
        """
        return self.kv_list.oldest()

    def state_victim(self) -> Node | None:
        """The node whose state goes first, or None if all are locked.  O(1).

        Does not modify the tree.
        """
        return self.state_list.oldest()

    def window_victim(self) -> Node | None:
        """The node whose window goes first, or None if all are locked.  O(1).

        Does not modify the tree.
        """
        return self.windows.oldest() if self.windows is not None else None

    def evict_kv(self, node: Node, by: str = "") -> Freed:
        """Remove an unlocked leaf with all it holds.

        Parents that are left as unlocked leaves that nothing can use go with it.  `by` names
        the policy, for miss reasons.  ArgumentError, and no change, for any other node.
        Cost: the nodes removed.
        """
        parent = node.parent
        if node.owner is not self.root or parent is None or node.children or node.full_lock:
            refuse_eviction(self, node, "KV")
        gone = Gone(self._clock, by)
        last = node.end
        pages, windows, states = [], [], []
        nodes = 0
        while True:
            pages.append(node.pages)
            if node.window is not None:
                windows.append(self._drop_window(node))
            if node.state is not None:
                states.append(self._drop_state(node))
            self._unlink(parent, node, gone)
            nodes += 1
            if parent.parent is None or parent.children or parent.full_lock:
                break
            if not self._useless(parent):
                break
            node, parent = parent, parent.parent
        self.full_evictable -= last - parent.end
        self.num_nodes -= nodes
        freed = pages[0] if nodes == 1 else Runs.concat(pages)
        return Freed(freed, tuple(states), nodes, Runs.concat(windows) if windows else NO_PAGES)

    def evict_state(self, node: Node, by: str = "") -> Freed:
        """Free the state of a node, not its KV.  O(1).

        An inner node becomes a tombstone; an unlocked leaf becomes one that goes first.
        ArgumentError, and no change, for a node without a state or with a locked one.
        """
        if node.owner is not self.root or node.state is None or node.state_lock:
            refuse_eviction(self, node, "state")
        slot = self._drop_state(node)
        node.state_gone = Gone(self._clock, by)
        self._chill(node)
        return Freed(NO_PAGES, (slot,), 0)

    def evict_window(self, node: Node, by: str = "") -> Freed:
        """Free the window pages of a node, not its full KV.  O(1).

        An inner node becomes a window tombstone; an unlocked leaf becomes one that goes
        first.  ArgumentError, and no change, for a node without a window or with a locked one.
        """
        if node.owner is not self.root or node.window is None or node.window_lock:
            refuse_eviction(self, node, "window")
        pages = self._drop_window(node)
        node.window_gone = Gone(self._clock, by)
        self._chill(node)
        return Freed(NO_PAGES, (), 0, pages)

    def _drop_window(self, node: Node) -> Runs:
        assert self.windows is not None  # a node has window pages in a tree with windows only
        if self.events is not None:
            self.events.removed("window", node)
        pages = self.windows.drop(node)
        self.owned_windows.release(pages)
        return pages

    def _chill(self, node: Node) -> None:
        """A node lost a kind: an unlocked leaf goes first now, if it did not before."""
        if not node.children and not node.full_lock and node.kv_stamp:
            self.kv_list.remove(node)
            self.kv_list.put_cold(node)

    def reset(self) -> Freed:
        """Remove everything.  LockError, and no change, while anything is locked.

        Cost: the size of the tree.
        """
        if self.full_protected:
            raise LockError(
                f"{self.full_protected} tokens and {self.state_protected} states are locked; "
                "spend the receipts before a reset"
            )
        nodes = list(self.walk())
        pages = Runs.concat(node.pages for node in nodes)
        windows = Runs.concat(node.window for node in nodes if node.window is not None)
        states = tuple(node.state for node in nodes if node.state is not None)
        for node in nodes:
            node.children = {}
            node.state = node.window = None
            retire(node)
        self._clear()
        if self.events is not None:
            self.events.cleared()
        return Freed(pages, states, len(nodes), windows)

    # Looking at it

    def path_pages(self, node: Node) -> Runs:
        """Pages from the root to the end of `node`, in token order.  Cost: the path."""
        parts = []
        while (parent := node.parent) is not None:
            parts.append(node.pages)
            node = parent
        return Runs.concat(reversed(parts))

    def path_key(self, node: Node) -> Key:
        """The tokens from the root to the end of `node`, and their namespace.  Cost: the path."""
        parts = []
        hook = b""
        while (parent := node.parent) is not None:
            parts.append(node.key)
            hook = node.hook
            node = parent
        namespace = hook[: -self.page_tokens * self.token_bytes]
        return Key(b"".join(reversed(parts)), namespace)

    def path_window(self, node: Node, start: int) -> Runs:
        """Window pages of the tokens from `start` to the end of `node`, in token order.

        `start` is a multiple of the page.  UnknownNode if a part of them is a tombstone.
        Cost: the path down from `start`.
        """
        parts = []
        while (parent := node.parent) is not None and node.end > start:
            if node.window is None:
                refuse_stranger(node, "has no window pages")
            first = max(start - parent.end, 0) // self.page_tokens
            parts.append(node.window.slice(first, node.window.count))
            node = parent
        return Runs.concat(reversed(parts))

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
