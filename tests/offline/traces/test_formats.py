"""Each format: what is written is read, and what is wrong is said."""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from trace_samples import BLOCK, Asked, asked, lines_of, tokens_of

from cachepawl.errors import InputError, TruncatedInput
from cachepawl.offline.traces import Options, Sharing, Trace, TraceRequest, open_trace

CLOCKED = ["mooncake", "bailian", "marconi"]
ONE = {
    "mooncake": [Asked(0, [7, 8], 3, 5, 0), Asked(1500, [7, 9], 512, 6, 0)],
    "bailian": [Asked(0, [7, 8], 3, 5, 0), Asked(1500, [7, 9], 16, 6, 0)],
    "claude-code": [Asked(0, [1, 2], 64, 5, 0), Asked(1500, [1, 2, 3], 64, 6, 0)],
    "marconi": [Asked(0, [7, 8], 1, 5, 0), Asked(1500, [7, 9], 1, 6, 0)],
}


def tokens(request: TraceRequest) -> list[int]:
    return array("q", request.key.tokens).tolist()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Trace]:
    """Writes lines to a file and opens it."""

    def write(lines: list[str], *args: Any, **options: Any) -> Trace:
        path = tmp_path / "trace.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines))
        return open_trace(path, *args, **options)

    return write


@pytest.mark.parametrize("format", CLOCKED)
@given(data=st.data())
def test_what_is_written_is_read(format: str, data: st.DataObject, tmp_path_factory) -> None:
    requests = data.draw(asked(BLOCK[format]))
    path = tmp_path_factory.mktemp("traces") / "trace"
    raw = "\n".join(lines_of(format, requests)).encode()
    path.write_bytes(data.draw(st.sampled_from([bytes, gzip.compress, zstandard.compress]))(raw))
    trace = open_trace(path)
    assert (trace.format, trace.block_tokens) == (format, BLOCK[format])
    found = list(trace.requests())
    assert [tokens(r) for r in found] == [tokens_of(r, BLOCK[format]) for r in requests]
    start = requests[0].at_ms
    assert [round(r.at * 1000) for r in found] == [r.at_ms - start for r in requests]
    if format != "mooncake":
        assert parts_of([r.conversation for r in found]) == parts_of([r.session for r in requests])
    assert found == list(trace.requests()), "a second reading gives the same"


def parts_of(names: list[Any]) -> list[int]:
    """Which of them are equal, whatever they are called."""
    return [names.index(name) for name in names]


@given(data=st.data())
def test_conversations_of_their_own_keep_order_and_prefixes(
    data: st.DataObject, tmp_path_factory
) -> None:
    requests = data.draw(asked(64))
    path = tmp_path_factory.mktemp("traces") / "trace"
    path.write_text("\n".join(lines_of("claude-code", requests)))
    found = list(open_trace(path).requests())
    assert [r.at for r in found] == sorted(r.at for r in found)
    assert found[0].at == 0
    for session in {r.session for r in requests}:
        own = [r for r in found if r.conversation == f"trace_{session}"]
        meant = [r for r in requests if r.session == session]
        low = [[token & 0xFFFFFFFF for token in tokens(r)] for r in own]
        assert low == [tokens_of(r, 64) for r in meant]
        others = {t for r in found if r.conversation != f"trace_{session}" for t in tokens(r)}
        assert not others & {t for r in own for t in tokens(r)}, "nothing is shared by chance"
        gaps = [
            (r.at - own[0].at) - (m.at_ms - meant[0].at_ms) / 1000
            for r, m in zip(own, meant, strict=True)
        ]
        assert max(map(abs, gaps)) < 1e-6


def talk(name: str, ids: list[int], tools: int = 130, system: int = 70, **more: Any) -> str:
    """A conversation of one request."""
    request = {"t": 0.5, "type": "s", "in": len(ids) * 64 + 10, "out": 1, "hash_ids": ids}
    value = {"id": name, "block_size": 64, "tool_tokens": tools, "system_tokens": system}
    return json.dumps(value | {"requests": [request]} | more)


@pytest.mark.parametrize(
    ("sharing", "second", "blocks"),
    [
        ("tools", talk("b", [1, 2, 3, 4]), 2),
        ("tools", talk("b", [1, 2, 3, 4], system=99), 2),
        ("tools", talk("b", [1, 2, 3, 4], tools=129), 0),
        ("system", talk("b", [1, 2, 3, 4]), 3),
        ("system", talk("b", [1, 2, 3, 4], system=99), 2),
        ("none", talk("b", [1, 2, 3, 4]), 0),
        ("tools", talk("b", [1, 2, 3, 4], hash_id_scope="global"), 0),
    ],
)
def test_prefixes_shared_by_conversations(opened, sharing: str, second: str, blocks: int) -> None:
    lines = [talk("a", [1, 2, 3, 4]), second]
    found = opened(lines, options=Options(sharing=Sharing(sharing))).requests()
    a, b = map(tokens, found)
    assert [x == y for x, y in zip(a, b, strict=True)] == [True] * blocks * 64 + [False] * (
        len(a) - blocks * 64
    )


def test_global_ids_are_shared_as_they_are(opened) -> None:
    lines = [talk(name, [1, 2, 3], hash_id_scope="global") for name in "ab"]
    a, b = map(tokens, opened(lines).requests())
    assert a[:192] == b[:192] == [1] * 64 + [2] * 64 + [3] * 64
    assert a[192:] != b[192:], "the last, partial block is unknown"


def test_a_request_without_the_tools_shares_nothing(opened) -> None:
    """The first request may be a small one beside the agent: its ids begin at 1 too."""
    small = {"t": 0, "type": "s", "in": 64, "out": 1, "hash_ids": [1]}
    big = {"t": 1, "type": "s", "in": 256, "out": 1, "hash_ids": [2, 3, 4, 5]}
    lines = [
        talk("a", [], requests=[small, big]),
        talk("b", [1, 2, 3, 4]),
    ]
    first, second, other = map(tokens, opened(lines, options=Options(gap=0)).requests())
    if len(second) == 266:
        second, other = other, second
    assert first[0] not in other
    assert second[:128] == other[:128]


def test_subagents_run_from_where_they_start(opened) -> None:
    def ask(t: float, first: int) -> dict[str, Any]:
        return {"t": t, "type": "n", "in": 64, "out": 1, "hash_ids": [first]}

    inner = {"t": 1.0, "type": "subagent", "requests": [ask(0.25, 4)]}
    agent = {"t": 10.0, "type": "subagent", "requests": [ask(0, 2), inner, ask(5, 3)]}
    lines = [talk("a", [1], requests=[ask(2, 1), agent, ask(12, 5)])]
    found = list(opened(lines).requests())
    assert [(r.at, tokens(r)[0] & 0xFFFF) for r in found] == [
        (0, 1), (8, 2), (9.25, 4), (10, 5), (13, 3),
    ]  # fmt: skip
    assert {r.conversation for r in found} == {"a"}


def test_arrivals_follow_the_seed(opened) -> None:
    lines = [talk(f"{i}", [1]) for i in range(200)]
    times = [
        [r.at for r in opened(lines, options=Options(seed=seed, gap=10)).requests()]
        for seed in (1, 1, 2)
    ]
    assert times[0] == times[1] != times[2]
    assert 7 < times[0][-1] / 199 < 13


def test_a_folder_of_conversations(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.json").write_text(json.dumps(json.loads(talk(name, [1])), indent=1))
    assert [r.conversation for r in open_trace(tmp_path).requests()] == ["a", "b"]
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b\.json: line: not JSON"):
        list(open_trace(tmp_path).requests())
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="a folder without"):
        open_trace(tmp_path / "none")


def test_late_lines_find_their_place_or_are_named(opened) -> None:
    early = lines_of("mooncake", [Asked(i, [1], 1, 1, 0) for i in range(300)])
    found = opened([*early[250:], *early[:250]]).requests()
    assert [round(r.at * 1000) for r in found] == list(range(300))
    late = [*early[1:], early[0]]
    with pytest.raises(InputError, match=r"jsonl:300: time 0 s comes after .* sort the file"):
        list(opened(late).requests())
    trace = opened(late, skip_bad_lines=True)
    assert len(list(trace.requests())) == 299
    assert trace.skipped.count == 1


@pytest.mark.parametrize("format", BLOCK)
@pytest.mark.parametrize("other", BLOCK)
def test_the_format_is_told_by_the_fields(opened, format: str, other: str) -> None:
    lines = lines_of(format, ONE[format])
    assert opened(lines, "auto").format == format
    if format == other:
        assert opened(lines, other).format == format
        return
    with pytest.raises(InputError, match=f"jsonl:1: looks like {format}, not {other}; pass"):
        opened(lines, other)


def test_what_is_no_trace(opened, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fields \['a'\]: no known kind of trace"):
        opened(['{"a": 1}'])
    with pytest.raises(InputError, match="empty: no known kind"):
        opened([])
    with pytest.raises(InputError, match="no line of it is a mooncake request"):
        list(opened([], "mooncake").requests())
    with pytest.raises(
        InputError, match="'x': give one of auto, bailian, cachepawl, claude-code, m"
    ):
        opened(['{"a": 1}'], "x")
    with pytest.raises(InputError, match="No such file"):
        open_trace(tmp_path / "none")
    with pytest.raises(InputError, match="gap nan: give seconds"):
        opened(lines_of("mooncake", ONE["mooncake"]), options=Options(gap=float("nan")))


WRONG = [
    ("mooncake", {"timestamp": "0"}, "timestamp is '0'; a number is needed"),
    ("mooncake", {"timestamp": True}, "timestamp is True; a number is needed"),
    ("mooncake", {"timestamp": -1}, r"timestamp is -1; it must be from 0 to 1e\+13"),
    ("mooncake", {"timestamp": 10**300}, "timestamp is 1000.*; it must be from 0"),
    ("mooncake", {"input_length": 0}, "input_length is 0; it must be from 1 to 67108864"),
    ("mooncake", {"input_length": 1.0}, "input_length is 1.0; a whole number is needed"),
    ("mooncake", {"input_length": 2000}, "hash_ids has 2 ids; input_length 2000 takes 4 blocks"),
    ("mooncake", {"hash_ids": [1]}, "hash_ids lacks the id of the last block"),
    ("mooncake", {"hash_ids": 5}, "hash_ids is 5; a list of whole numbers is needed"),
    ("mooncake", {"hash_ids": [1, None]}, "hash_ids holds None; whole numbers are needed"),
    ("mooncake", {"hash_ids": [1, -2]}, "hash_ids holds -2; ids must be from 0"),
    ("mooncake", {"hash_ids": [1, 2**63]}, "hash_ids holds 9223372036854775808; ids must be"),
    ("mooncake", {"output_length": None}, "output_length is None; a whole number is needed"),
    ("bailian", {"chat_id": -1}, "chat_id is -1"),
    ("bailian", {"parent_chat_id": "5"}, "parent_chat_id is '5'"),
    ("bailian", {"turn": -1}, "turn is -1"),
    ("bailian", {"type": 3}, "type is 3; a text of 1 to 200"),
    ("bailian", {"hash_ids": []}, "hash_ids has 0 ids; input_length 19 takes 2 blocks"),
    ("claude-code", {"block_size": 128}, "block_size is 128; only 64 is known"),
    ("claude-code", {"id": "a\nb"}, r"id is 'a\\nb'; a text of 1 to 200 printable"),
    ("claude-code", {"hash_id_scope": []}, r"hash_id_scope is \[\]; give local or global"),
    ("claude-code", {"tool_tokens": 2**20}, "tool_tokens is 1048576; it must be"),
    ("claude-code", {"requests": []}, r"requests is \[\]; a list of at least one object"),
    ("claude-code", {"requests": [1]}, "requests holds 1; objects are needed"),
    ("claude-code", {"requests": [{"t": 0, "type": "n"}]}, "hash_ids is missing"),
    ("marconi", {"input_tokens": []}, "num_input_tokens is 2, but input_tokens has 0 ids"),
    ("marconi", {"input_tokens": [], "num_input_tokens": 0}, "input_tokens is empty"),
    ("marconi", {"num_output_tokens": 4}, "num_output_tokens is 4, but output_tokens has 5"),
    ("marconi", {"session_id": "x"}, "session_id is 'x'; a whole number"),
    ("marconi", {"turn_id": 0.5}, "turn_id is 0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "change", "words"), WRONG)
def test_a_bad_line_is_named_or_skipped(opened, format: str, change: Any, words: str) -> None:
    good, *_ = lines = lines_of(format, ONE[format])
    bad = json.dumps(json.loads(good) | change)
    with pytest.raises(InputError, match=rf"jsonl:3: {words}.*; mend it or pass --skip") as error:
        list(opened([good, "", bad, *lines[1:]]).requests())
    assert "\n" not in str(error.value)
    trace = opened([good, "", bad, *lines[1:]], skip_bad_lines=True)
    assert len(list(trace.requests())) == len(ONE[format])
    assert trace.skipped.count == 1
    assert trace.skipped.first[0].startswith(f"{trace.path}:3: ")


def test_bytes_that_are_no_text_are_skipped_too(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    good = [line.encode() for line in lines_of("mooncake", ONE["mooncake"])]
    path.write_bytes(b"\n".join([b"\xff", good[0], b"\xe9{}", b"{", good[1]]))
    trace = open_trace(path, skip_bad_lines=True)
    for _ in range(2):
        assert len(list(trace.requests())) == 2
        assert trace.skipped.count == 3, "counted anew by each reading"
    with pytest.raises(InputError, match="trace:1: text: not UTF-8 at byte 0"):
        list(open_trace(path).requests())


def test_only_bad_lines_are_too_many(opened) -> None:
    good = json.loads(lines_of("mooncake", ONE["mooncake"])[0])
    lines = [json.dumps(good | {"input_length": i}) for i in range(2000, 2020)]
    trace = opened(lines, skip_bad_lines=True)
    with pytest.raises(InputError, match=r"no line of it is a mooncake request; .*jsonl:1: hash_"):
        list(trace.requests())
    assert (trace.skipped.count, len(trace.skipped.first)) == (20, 5)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_an_error_even_when_skipping(pack, tmp_path: Path) -> None:
    lines = lines_of("mooncake", [Asked(i, [i * 7919 % 10007], 5, 1, 0) for i in range(2000)])
    path = tmp_path / "cut"
    path.write_bytes(pack("\n".join(lines).encode())[:-9])
    with pytest.raises(TruncatedInput, match=r"cut: the .* data ends too early"):
        list(open_trace(path, skip_bad_lines=True).requests())


def test_chats_are_followed_within_bounds(opened) -> None:
    """Two answers to one turn belong together; memory of chats has an end."""
    parents = [-1, 0, 0, 1, 99]
    good = json.loads(lines_of("bailian", ONE["bailian"])[0])
    lines = [
        json.dumps(good | {"chat_id": chat, "parent_chat_id": parent})
        for chat, parent in enumerate(parents)
    ]
    assert [r.conversation for r in opened(lines).requests()] == ["0", "0", "0", "0", "99"]
