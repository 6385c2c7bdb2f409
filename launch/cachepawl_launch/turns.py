"""What a model's chat template puts before the first user's words, as token ids.

Conversations under one system prompt (and one set of tools) agree up to where the first user
speaks, and seldom further.  The ids that open a user's turn are found once, at start, by
rendering the template with two system prompts, without tools and with two sets of them, and two
questions: what the renderings have in common before the question, and still have in common read
backwards, opens the turn.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sglang.srt.utils.hf_transformers import get_tokenizer

logger = logging.getLogger(__name__)

SYSTEMS = ("Answer in one word.", "You are a pirate")
"""They begin and end differently."""
QUESTIONS = ("7 apples", "What is it?")


def _tool(name: str, says: str, parameter: str) -> dict[str, Any]:
    takes = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": []}
    return {
        "type": "function",
        "function": {"name": name, "description": says, "parameters": takes},
    }


TOOLS: tuple[list[dict[str, Any]] | None, ...] = (
    None,
    [_tool("weather", "What it is like outside", "city")],
    [_tool("add", "Sum", "a"), _tool("look_up", "Read a page", "title")],
)
"""Some templates put them behind the system prompt, some beside a user's words."""


def opening_of(view: Any) -> tuple[int, ...]:
    """Ids that open a user's turn in the chat template of a server to be, or none.

    `view` reads SGLang's resolved arguments.  Nothing depends on it, so whatever goes wrong
    is said, and answered with none.
    """
    if view.skip_tokenizer_init:
        logger.info("cachepawl: no message boundaries: --skip-tokenizer-init")
        return ()
    try:
        tokenizer = get_tokenizer(
            view.tokenizer_path,
            tokenizer_mode=view.tokenizer_mode,
            trust_remote_code=view.trust_remote_code,
            revision=view.revision,
        )
        opening = find_opening(tokenizer, _template(view.chat_template))
    except Exception as error:  # templates are programs of others: anything may come
        logger.warning("cachepawl: no message boundaries, the chat template fails: %r", error)
        return ()
    if not opening:
        logger.warning(
            "cachepawl: no message boundaries: the chat template opens a user's turn without a "
            "special token; clients may name depths (custom_params: cachepawl_checkpoints)"
        )
    return opening


def _template(name: str | None) -> str | None:
    """The text of a template file; None for the tokenizer's own.  ValueError for a name."""
    if name is None:
        return None
    if not Path(name).is_file():
        raise ValueError(f"--chat-template {name} is not a file")
    return Path(name).read_text(encoding="utf-8")


def find_opening(tokenizer: Any, template: str | None) -> tuple[int, ...]:
    """Ids that open a user's turn, with a special token among them; none where there are not.

    With tools and without alike, where there are such ids: else of a prompt without tools.
    """
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    plain = _before_questions(tokenizer, template, None)
    every = list(plain)
    with contextlib.suppress(Exception):  # a template may refuse tools
        for tools in TOOLS[1:]:
            every += _before_questions(tokenizer, template, tools)
    for before in (every, plain):
        same = _common([ids[::-1] for ids in before])[::-1]
        if special & set(same):
            return tuple(same)
    return ()


def _before_questions(
    tokenizer: Any, template: str | None, tools: list[dict[str, Any]] | None
) -> list[list[int]]:
    """Ids that a conversation has before the user's words, under each system prompt."""

    def render(system: str, question: str) -> list[int]:
        chat = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(
            chat, tools=tools, chat_template=template, tokenize=False
        )
        return list(tokenizer.encode(text, add_special_tokens=False))

    return [_common([render(system, question) for question in QUESTIONS]) for system in SYSTEMS]


def _common(parts: Sequence[list[int]]) -> list[int]:
    """The beginning that all have in common."""
    out = []
    for ids in zip(*parts, strict=False):
        if len(set(ids)) > 1:
            break
        out.append(ids[0])
    return out
