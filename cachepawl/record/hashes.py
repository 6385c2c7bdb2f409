"""Salted hashes: the log says which prompts share a prefix, and not what is in them.

Pages are hashed as `cachepawl.tree.hashes` does, chained from the start of the sequence, from
a seed that depends on the salt.  The full digests stay in the writer's memory; the log gets
`HASH_BYTES` of each.  That is enough, for a hash is only ever compared with those of other
pages behind the same prefix.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode

from cachepawl.tree.hashes import HASH_BYTES as DIGEST_BYTES
from cachepawl.tree.hashes import chain

__all__ = ["DIGEST_BYTES", "HASH_BYTES", "chain", "make_salt", "name_hash", "page_seed", "shorten"]

HASH_BYTES = 6
"""Of a page in the log: 48 bits.  A million different pages behind one prefix, such as first
pages of prompts without a common system prompt, collide with a chance of 1 in 560; with 32
bits about a hundred pairs would.  Also eight characters of base64 without padding."""
TAG = b"cachepawl trace 1\0"


def make_salt(text: str | None) -> bytes:
    """The salt of a text, or a random one; 32 bytes, never written anywhere."""
    if text is None:
        return secrets.token_bytes(32)
    return hashlib.sha256(TAG + text.encode("utf-8", "surrogatepass")).digest()


def _seed(salt: bytes, what: bytes, name: bytes) -> bytes:
    return hashlib.sha256(TAG + salt + what + name).digest()


def page_seed(salt: bytes, namespace: bytes) -> bytes:
    """What the first page of a namespace is chained to."""
    return _seed(salt, b"namespace", namespace)


def name_hash(salt: bytes, name: str) -> str:
    """A request's id, or any name, in the log."""
    digest = _seed(salt, b"name", name.encode("utf-8", "surrogatepass"))
    return b64encode(digest[:HASH_BYTES]).decode()


def shorten(digests: bytes) -> str:
    """Digests, one after the other, as they are in the log."""
    starts = range(0, len(digests), DIGEST_BYTES)
    return b64encode(b"".join(digests[at : at + HASH_BYTES] for at in starts)).decode()
