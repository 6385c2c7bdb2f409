"""What a model's chat template puts before the first user's words, as token ids.

Conversations under one system prompt (and one set of tools) agree up to where the first user
speaks, and seldom further.  The ids that open a user's turn are found once, at start, by
rendering the template with two system prompts and two questions: what both renderings have in
common before the question, and still have in common read backwards, opens the turn.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sglang.srt.utils.hf_transformers import get_tokenizer

logger = logging.getLogger(__name__)

SYSTEMS = ("Answer in one word.", "You are a pirate")
"""They begin and end differently."""
QUESTIONS = ("7 apples", "What is it?")


def opening_of(view: Any) -> tuple[int, ...]:
    """Ids that open a user's turn in the chat template of a server to be, or none.

    `view` reads SGLang's resolved arguments.  Nothing depends on it, so whatever goes wrong
    is said, and answered with none.
    """
    if view.skip_tokenizer_init:
        return ()
    try:
        tokenizer = get_tokenizer(
            view.tokenizer_path,
            tokenizer_mode=view.tokenizer_mode,
            trust_remote_code=view.trust_remote_code,
            revision=view.revision,
        )
        return find_opening(tokenizer, _template(view.chat_template))
    except Exception as error:  # templates are programs of others: anything may come
        logger.warning("cachepawl: no message boundaries, the chat template fails: %r", error)
        return ()


def _template(name: str | None) -> str | None:
    """The text of a template file; None for the tokenizer's own.  ValueError for a name."""
    if name is None:
        return None
    if not Path(name).is_file():
        raise ValueError(f"--chat-template {name} is not a file")
    return Path(name).read_text(encoding="utf-8")


def find_opening(tokenizer: Any, template: str | None) -> tuple[int, ...]:
    """Ids that open a user's turn, with a special token among them; none where there are not."""
    before = [_before_question(tokenizer, template, system) for system in SYSTEMS]
    same = _common([ids[::-1] for ids in before])[::-1]
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    return tuple(same) if special & set(same) else ()


def _before_question(tokenizer: Any, template: str | None, system: str) -> list[int]:
    """Ids that a conversation under `system` has before the user's words."""
    return _common([_render(tokenizer, template, system, question) for question in QUESTIONS])


def _render(tokenizer: Any, template: str | None, system: str, question: str) -> list[int]:
    chat = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _common(parts: Sequence[list[int]]) -> list[int]:
    """The beginning that all have in common."""
    out = []
    for ids in zip(*parts, strict=False):
        if len(set(ids)) > 1:
            break
        out.append(ids[0])
    return out
