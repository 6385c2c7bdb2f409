"""The ids that open a user's turn, read from real tokenizers and templates."""

from __future__ import annotations

import logging
from array import array
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from cachepawl_launch.cpu.tiny_tokenizer import write_tokenizer
from cachepawl_launch.marks import Marks
from cachepawl_launch.turns import find_opening, opening_of

LLAMA = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}<|im_end|>\n\n{{ m['content'] }}</s>"
    "{% endfor %}"
)
PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"

IN_SYSTEM = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% if tools and m['role'] == 'system' %}\n\n# Tools\n<tools>"
    "{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools>{% endif %}"
    "<|im_end|>\n{% endfor %}"
)
"""The tools end the system block."""
BEHIND_SYSTEM = (
    "{% for m in messages %}"
    "{% if tools and m['role'] == 'user' and loop.index0 == 1 %}"
    "# Tools: {{ tools | tojson }}</s>{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
"""They have a block of their own, which ends otherwise than the system's."""
BESIDE_LAST = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}<s>{{ m['content'] }}</s>"
    "{% elif m['role'] == 'user' %}"
    "{% if tools and loop.last %}[TOOLS]{{ tools | tojson }}[/TOOLS]{% endif %}"
    "<|im_start|>{{ m['content'] }}<|im_end|>"
    "{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)
"""They come before the last user's words, so they move on with every turn."""
IN_USER = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if tools and m['role'] == 'user' and loop.index0 == 1 %}Call these: "
    "{{ tools | tojson }}\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
"""They are put into the first user's mouth, and plain words come between."""
REFUSES = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + IN_SYSTEM
MINE = [{"type": "function", "function": {"name": "mine", "parameters": {"x": 1}}}]
"""No tools that the launcher knows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path)
    return path


def view(folder: Path, **changes: object) -> SimpleNamespace:
    values = {"skip_tokenizer_init": False, "tokenizer_path": str(folder), "chat_template": None,
              "tokenizer_mode": "auto", "trust_remote_code": False, "revision": None}  # fmt: skip
    return SimpleNamespace(**(values | changes))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (None, "<|im_end|>\n<|im_start|>user\n"),
        (LLAMA, "</s><|im_start|>user<|im_end|>\n\n"),
    ],
)
def test_opening(folder: Path, template: str | None, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(find_opening(tokenizer, template)) == text


ASKS = "Question 0"
"""What the first user of a prompt says."""


@pytest.mark.parametrize(
    ("template", "turns", "before", "after"),
    [
        (IN_SYSTEM, 1, "</tools><|im_end|>\n<|im_start|>user\n", ASKS),
        (IN_SYSTEM, 3, "</tools><|im_end|>\n<|im_start|>user\n", ASKS),
        (BEHIND_SYSTEM, 1, "]</s><|im_start|>user\n", ASKS),
        (BEHIND_SYSTEM, 3, "]</s><|im_start|>user\n", ASKS),
        (BESIDE_LAST, 1, "[/TOOLS]<|im_start|>", ASKS),
        (BESIDE_LAST, 3, "<s>Be brief.</s><|im_start|>", ASKS),
        # Nothing special is between these tools and the words, so the mark is before both.
        (IN_USER, 1, "Be brief.<|im_end|>\n<|im_start|>user\n", "Call these: "),
        (IN_USER, 3, "Be brief.<|im_end|>\n<|im_start|>user\n", "Call these: "),
    ],
)
def test_the_mark_of_a_prompt_with_tools(
    folder: Path, template: str, turns: int, before: str, after: str
) -> None:
    """Where the first user speaks, behind the tools that come before that."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "system", "content": "Be brief."}]
    for turn in range(turns):
        chat += [{"role": "user", "content": f"Question {turn}"}]
        chat += [{"role": "assistant", "content": f"Answer {turn}"}] * (turn < turns - 1)
    text = tokenizer.apply_chat_template(chat, tools=MINE, chat_template=template, tokenize=False)
    assert '"mine"' in text
    ids = tokenizer.encode(text, add_special_tokens=False)
    (mark,) = Marks(find_opening(tokenizer, template)).of(array("q", ids).tobytes(), None)
    assert tokenizer.decode(ids[:mark]).endswith(before)
    assert tokenizer.decode(ids[mark:]).startswith(after)


def test_a_template_that_refuses_tools(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert find_opening(tokenizer, REFUSES) == find_opening(tokenizer, IN_SYSTEM) != ()


def test_plain_words_open_nothing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody may write "user: " anywhere; that there will be no marks is said once."""
    assert find_opening(AutoTokenizer.from_pretrained(folder), PLAIN) == ()
    file = tmp_path / "plain.jinja"
    file.write_text(PLAIN)
    with caplog.at_level(logging.INFO):
        assert opening_of(view(folder, chat_template=str(file))) == ()
    assert len([r for r in caplog.records if "no message boundaries" in r.message]) == 1


def test_a_template_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(LLAMA)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert opening_of(view(folder, chat_template=str(file))) == find_opening(tokenizer, LLAMA)


@pytest.mark.parametrize(
    "changes",
    [{"skip_tokenizer_init": True}, {"chat_template": "chatml"}, {"tokenizer_path": "/nowhere"}],
)
def test_without_one(
    folder: Path, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert opening_of(view(folder, **changes)) == ()
    assert len([r for r in caplog.records if "no message boundaries" in r.message]) == 1
