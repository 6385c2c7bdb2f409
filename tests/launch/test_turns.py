"""The ids that open a user's turn, read from real tokenizers and templates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from cachepawl_launch.cpu.tiny_tokenizer import write_tokenizer
from cachepawl_launch.turns import find_opening, opening_of

LLAMA = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}<|im_end|>\n\n{{ m['content'] }}</s>"
    "{% endfor %}"
)
PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


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


def test_plain_words_open_nothing(folder: Path) -> None:
    """Anybody may write "user: " anywhere."""
    assert find_opening(AutoTokenizer.from_pretrained(folder), PLAIN) == ()


def test_a_template_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(LLAMA)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert opening_of(view(folder, chat_template=str(file))) == find_opening(tokenizer, LLAMA)


@pytest.mark.parametrize(
    "changes",
    [{"skip_tokenizer_init": True}, {"chat_template": "chatml"}, {"tokenizer_path": "/nowhere"}],
)
def test_without_one(folder: Path, changes: dict[str, object]) -> None:
    assert opening_of(view(folder, **changes)) == ()
