"""What a log tells of a prompt: which pages are equal, and nothing else."""

from __future__ import annotations

import json
import re
from array import array
from base64 import b64decode
from pathlib import Path

from recorded_load import PAGE, Load, write_log

from cachepawl.record.hashes import HASH_BYTES, make_salt, name_hash
from cachepawl.record.recording import Record

TOKENS = [7_000_000_019 + 31 * i for i in range(6 * PAGE + 1)]
"""Ids too odd to come about otherwise."""
NAME, SPACE = "request-4711-of-alice", b"tenant-of-alice"


def text_of(path: Path, salt: bytes) -> str:
    records: list[Record] = []
    load = Load(records.append)
    load.request(NAME, TOKENS, SPACE)
    load.request("again", TOKENS, SPACE)
    load.request("fork", [*TOKENS[: 2 * PAGE], *TOKENS], SPACE)
    write_log(path, records, salt=salt)
    return path.read_text()


def hashes_of(text: str) -> list[bytes]:
    raw = [
        b64decode(line[4]) for line in map(json.loads, text.splitlines()[1:]) if line[0] == "seg"
    ]
    return [one[at : at + HASH_BYTES] for one in raw for at in range(0, len(one), HASH_BYTES)]


def test_no_token_name_namespace_or_salt(tmp_path: Path) -> None:
    salt = make_salt("our salt")
    text = text_of(tmp_path / "log", salt)
    numbers = set(map(int, re.findall(r"\d+", text)))
    assert not numbers.intersection(TOKENS)
    raw = text.encode() + b"".join(hashes_of(text))
    for secret in (NAME.encode(), SPACE, b"alice", b"our salt", salt, salt[:8]):
        assert secret not in raw
        assert secret.hex().encode() not in raw
    for token in TOKENS:
        assert token.to_bytes(8, "little")[:5] not in raw
        assert str(token).encode() not in raw
    for at in range(0, len(TOKENS), PAGE):
        assert array("q", TOKENS[at : at + PAGE]).tobytes()[:12] not in raw


def test_two_salts_have_nothing_in_common(tmp_path: Path) -> None:
    one = text_of(tmp_path / "one", make_salt("one"))
    other = text_of(tmp_path / "other", make_salt("other"))
    again = text_of(tmp_path / "again", make_salt("one"))
    assert len(hashes_of(one)) > 6
    assert not set(hashes_of(one)) & set(hashes_of(other))
    assert hashes_of(one) == hashes_of(again)
    assert name_hash(make_salt("one"), NAME) in one
    assert name_hash(make_salt("one"), NAME) not in other
    assert make_salt(None) != make_salt(None)


def test_a_prefix_is_written_once(tmp_path: Path) -> None:
    text = text_of(tmp_path / "log", b"salt")
    fork = len([*TOKENS[: 2 * PAGE], *TOKENS]) // PAGE - 2
    assert len(hashes_of(text)) == len(TOKENS) // PAGE + fork
    assert len(set(hashes_of(text))) == len(hashes_of(text))
