"""Page hashes: one name for a page and all that comes before it, the same in every process.

    h[0]   = SHA-256(seed        || tokens of page 0)
    h[i]   = SHA-256(h[i - 1]    || tokens of page i)
    seed   = SHA-256(TAG || page_tokens || token_bytes || len(namespace) || namespace)

`||` joins bytes; the sizes in the seed are 8-byte little-endian integers, token ids are
`token_bytes / 8` 8-byte little-endian integers each.  So a hash says which tokens, in which
order, at which depth, with which page size and in which namespace, and nothing else: how the
tree is split, and in which order hashes are asked for, does not enter.
"""

from __future__ import annotations

import hashlib
import sys
from array import array

from cachepawl.tree.node import Node
from cachepawl.types import TOKEN_BYTES

HASH_BYTES = 32
TAG = b"cachepawl page hash 1\0"


def seed_of(namespace: bytes, page_tokens: int, token_bytes: int) -> bytes:
    """What the first page's hash is chained to."""
    sizes = (page_tokens, token_bytes, len(namespace))
    framed = b"".join(size.to_bytes(8, "little") for size in sizes)
    return hashlib.sha256(TAG + framed + namespace).digest()


def chain(previous: bytes, tokens: bytes, page_bytes: int) -> bytes:
    """Hashes of the whole pages of `tokens`, 32 bytes each, chained to `previous`.

    `previous` is the hash of the page before, or a seed.  Cost: the tokens.
    """
    if sys.byteorder == "big" and page_bytes % TOKEN_BYTES == 0:
        swapped = array("q", tokens)
        swapped.byteswap()
        tokens = swapped.tobytes()
    sha256 = hashlib.sha256
    out = bytearray()
    for at in range(0, len(tokens) - page_bytes + 1, page_bytes):
        previous = sha256(previous + tokens[at : at + page_bytes]).digest()
        out += previous
    return bytes(out)


def edge_hashes(node: Node, page_tokens: int, token_bytes: int) -> bytes:
    """The hashes of the pages on a node's edge, 32 bytes each.

    Computed once for each node, from the first ancestor that has its own.
    """
    page_bytes = page_tokens * token_bytes
    todo = []
    while node.hashes is None and node.parent is not None:
        todo.append(node)
        node = node.parent
    for below in reversed(todo):
        if node.parent is None:
            namespace = below.hook[:-page_bytes]
            previous = seed_of(namespace, page_tokens, token_bytes)
        else:
            assert node.hashes is not None  # the walk stopped here, or it was just set
            previous = node.hashes[-HASH_BYTES:]
        below.hashes = chain(previous, below.key, page_bytes)
        node = below
    return node.hashes or b""
