"""Flags are read as SGLang's own parser reads them, and nothing wrong gets through."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flag_values import CHOICES, HUMAN
from cachepawl.offline.sglang.flag_words import split_words
from cachepawl.offline.sglang.flags import (
    ALIASES,
    KINDS,
    ServerFlags,
    _field,
    _takes_value,
    flag_name,
    from_mapping,
    parse_flags,
)

OURS = {name for name in KINDS if name.startswith("cachepawl_")}


@pytest.fixture(scope="module")
def sglang_parser() -> argparse.ArgumentParser:
    """The real parser; the command's own tests skip without SGLang."""
    server_args = pytest.importorskip("sglang.srt.server_args")
    parser = argparse.ArgumentParser(exit_on_error=False)
    server_args.ServerArgs.add_cli_args(parser)
    return parser


def test_names_defaults_and_choices_are_sglangs(sglang_parser: argparse.ArgumentParser) -> None:
    actions = {a.dest: a for a in sglang_parser._actions}
    for name, kind in KINDS.items():
        if name in OURS:
            continue
        action = actions[name]
        assert flag_name(name) in action.option_strings
        assert action.default == getattr(ServerFlags, name), name
        assert (action.nargs == 0) == (kind.base is bool), name
        if kind.base in (int, float) and name not in HUMAN:
            assert action.type is kind.base, name
        assert (getattr(action.type, "__name__", "") == "human_readable_int") == (name in HUMAN)
        if name in CHOICES:
            assert kind.choices == tuple(action.choices or ()), name


def test_aliases_are_sglangs(sglang_parser: argparse.ArgumentParser) -> None:
    theirs = {
        option: a.dest
        for a in sglang_parser._actions
        for option in a.option_strings
        if a.dest in KINDS and option != flag_name(a.dest)
    }
    assert theirs == {flag_name(alias): name for alias, name in ALIASES.items()}


def _read(word: str) -> str | None:
    """The field that a flag is read as, if any."""
    split = split_words([word], _takes_value)
    return _field(split.pairs[0][0]) if split.pairs else None


def test_beginnings_of_names_are_read_as_sglang_reads_them(
    sglang_parser: argparse.ArgumentParser,
) -> None:
    spelled = [o for a in sglang_parser._actions for o in a.option_strings if o.startswith("--")]
    words = {option[:cut] for option in spelled for cut in range(3, len(option) + 1)}
    for word in words:
        meant = [word] if word in spelled else [o for o in spelled if o.startswith(word)]
        if len(meant) != 1:
            continue  # SGLang refuses it
        (dest,) = {a.dest for a in sglang_parser._actions if meant[0] in a.option_strings}
        assert _read(word) == (dest if dest in KINDS else None), word
    assert parse_flags(["--tp", "4", "--mem-frac=0.7"]).tp_size == 4
    assert parse_flags(["--tp", "4", "--mem-frac=0.7"]).mem_fraction_static == 0.7


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(HUMAN)),
    st.integers(0, 10**6),
    st.sampled_from(["", ".5", ".625", ".1234"]),
    st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "m", "K", "B"]),
)
def test_numbers_with_units_as_sglang_reads_them(
    sglang_parser: argparse.ArgumentParser, name: str, whole: int, part: str, unit: str
) -> None:
    text = f"{whole}{part}{unit}"
    (read,) = {a.type for a in sglang_parser._actions if a.dest == name}
    try:
        theirs = read(text)  # type: ignore[operator]
    except (argparse.ArgumentTypeError, ValueError):
        with pytest.raises(InputError, match=flag_name(name)):
            parse_flags([flag_name(name), text])
    else:
        assert getattr(parse_flags([flag_name(name), text]), name) == theirs


def test_a_launch_line() -> None:
    flags = parse_flags(
        "SGLANG_MAMBA_CONV_DTYPE=float32 python -m cachepawl.launch_server --model-path 'a b' \\\n"
        " --chunked-prefill-size -1 --page-size=16 --enable-hicache --tp 2 --tensor-parallel-size 4"
        " --context-length 64Ki --cachepawl-device-gb 1.5 --cachepawl-check-level 2"
    )
    assert flags.model_path == "a b"
    assert (flags.chunked_prefill_size, flags.page_size, flags.tp_size) == (-1, 16, 4)
    assert flags.enable_hierarchical_cache
    assert (flags.context_length, flags.cachepawl_device_gb) == (65536, 1.5)
    assert flags.environment_value("SGLANG_MAMBA_CONV_DTYPE") == "float32"
    assert "--cachepawl-check-level" in flags.rest
    assert "page_size" in flags.given
    assert "mamba_track_interval" not in flags.given


def test_the_last_of_two_counts() -> None:
    assert parse_flags(["--page-size", "1", "--page-size", "32"]).page_size == 32


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--page-size many", "--page-size many: give a whole number"),
        ("--page-size 1.5", "--page-size 1.5"),
        ("--page-size 1k", "--page-size 1k"),
        ("--page-size", "--page-size: no value"),
        ("--page-size --tp-size 1", "--page-size: no value"),
        ("--mem-fraction-static nan", "not a finite number"),
        ("--mamba-radix-cache-strategy best", "one of auto, no_buffer"),
        ("--disable-radix-cache=yes", "takes no value"),
        ("--model-path 'x", "quot"),
    ],
)
def test_bad_words(words: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_flags(words)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), max_size=8))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        flags = parse_flags(words)
    except InputError:
        return
    kept = [*flags.rest, *(f"{k}={v}" for k, v in flags.environment)]
    assert all(word in words for word in kept)


def test_a_servers_own_account() -> None:
    flags = from_mapping(
        {"page_size": 16, "mamba_full_memory_ratio": 1, "host": "::", "tp_size": 1}
    )
    assert flags.page_size == 16
    assert flags.mamba_full_memory_ratio == 1.0
    assert flags.rest == ("host",)
    assert flags.given == {"page_size", "mamba_full_memory_ratio"}
    assert from_mapping({}, given=frozenset({"x"})).given == {"x"}


@pytest.mark.parametrize(
    "values", [{"page_size": "16"}, {"page_size": True}, {"tp_size": None},
               {"mem_fraction_static": float("inf")}, {"disable_radix_cache": 1},
               {"kv_cache_dtype": "fp2"}]
)  # fmt: skip
def test_a_wrong_account(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"server_args: {next(iter(values))}"):
        from_mapping(values)


def test_every_field_can_be_given() -> None:
    values = {f.name: getattr(ServerFlags, f.name) for f in fields(ServerFlags) if f.name in KINDS}
    assert from_mapping(values) == ServerFlags()
