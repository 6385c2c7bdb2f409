"""The tiny checkpoints: the same bytes each time, whole or absent, and alive to their states."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked

from cachepawl_launch.cpu.tiny import FAMILIES, main, make_tiny
from cachepawl_launch.cpu.tiny_config import CONTEXT, VOCABULARY, WITHOUT_STATES


def digest(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        make_tiny(family, out)
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_bytes_every_time(models: Path, tmp_path: Path, family: str) -> None:
    first = digest(models / family)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(first)
    torch.manual_seed(99)  # the global generator has no say
    assert digest(make_tiny(family, tmp_path)) == first


def test_a_second_call_writes_nothing(models: Path) -> None:
    folder = models / FAMILIES[0]
    times = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    assert make_tiny(FAMILIES[0], models) == folder
    assert {f.name: f.stat().st_mtime_ns for f in folder.iterdir()} == times


def test_two_processes_may_make_the_same_one(models: Path, tmp_path: Path) -> None:
    """With what takes seconds imported already, so that both are at it at the same time."""
    made, command = tmp_path / "made", ["-m", "cachepawl_launch.cpu.tiny"]
    made.mkdir()
    with Forked(["torch", "transformers", "tokenizers"], os.environ) as forked:
        racers = []
        for name in ("one", "two"):
            out, err = tmp_path / f"{name}.out", tmp_path / f"{name}.err"
            words = [*command, str(made), "lfm2"]
            racers.append((forked.start(words, os.environ, tmp_path, out=out, err=err), out, err))
        for racer, out, err in racers:
            assert racer.wait(300) == 0, err.read_text()
            assert str(made / "lfm2") in out.read_text()
    assert [f.name for f in made.iterdir()] == ["lfm2"], "no draft is left behind"
    assert digest(made / "lfm2") == digest(models / "lfm2")


def test_a_folder_of_another_make_is_refused(tmp_path: Path) -> None:
    (tmp_path / "qwen3").mkdir()
    with pytest.raises(FileExistsError, match="remove it first"):
        make_tiny("qwen3", tmp_path)


def test_an_unknown_family_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "qwen3", "gpt2"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "gpt2" in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="gpt2"):
        make_tiny("gpt2", tmp_path)


def test_importing_the_recipe_imports_neither_torch_nor_sglang() -> None:
    code = (
        "import sys, cachepawl_launch.cpu.tiny, cachepawl_launch.cpu.flags\n"
        "print({'torch', 'transformers', 'tokenizers', 'sglang'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@pytest.mark.parametrize("family", FAMILIES)
def test_any_text_survives_the_tokenizer(models: Path, family: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models / family)
    text = "  A tree,\n\tünïcode 🐾 \x00 and <tags>. "
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(text.encode())
    assert max(ids) < VOCABULARY
    assert tokenizer.decode(ids) == text
    chat = [{"role": "user", "content": "hi"}]
    said = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert said == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    marked = tokenizer.encode(said, add_special_tokens=False)
    assert marked.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_answers_to_what_it_reads(models: Path, family: str) -> None:
    """Sharp enough to see a change, not so sharp that nothing can change it."""
    from transformers import AutoModelForCausalLM

    folder = models / family
    assert json.loads((folder / "config.json").read_text())["max_position_embeddings"] >= 4096
    assert CONTEXT >= 4096
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = torch.randint(5, 260, (1, 160), generator=torch.Generator().manual_seed(3))
    other = ids.clone()
    other[0, 8] = 5 if ids[0, 8] != 5 else 6
    with torch.no_grad():
        one, two = (model(x).logits[0, -1].log_softmax(-1) for x in (ids, other))
    entropy = float(-(one.exp() * one).sum())
    assert 0.3 < entropy < 4.5, "uniform would be 5.58"
    assert float((one - two).abs().max()) > 1e-3, "one token 150 tokens ago is not forgotten"


KINDS = {family: ["conv_states", "recurrent_states"] for family in FAMILIES}
KINDS["lfm2"] = ["conv_states"]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (family, kind)
        for family in FAMILIES
        if family not in WITHOUT_STATES
        for kind in KINDS[family]
    ],
)
def test_a_lost_state_shows(models: Path, family: str, kind: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models / family)
    ids = torch.randint(5, 260, (1, 104), generator=torch.Generator().manual_seed(3))

    def after_resuming(lose_state: bool) -> torch.Tensor:
        cache = model(ids[:, :100], use_cache=True).past_key_values
        if lose_state:
            zero_states(cache, kind)
        for t in range(100, 104):
            logits = model(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits
        return logits[0, -1].log_softmax(-1)

    with torch.no_grad():
        whole = model(ids).logits[0, -1].log_softmax(-1)
        kept, lost = after_resuming(False), after_resuming(True)
    assert float((kept - whole).abs().max()) < 1e-4
    assert float((lost - whole).abs().max()) > 1e-2


def zero_states(cache: Any, kind: str) -> None:
    """Zero every state of one kind in transformers' cache; at least one must be there."""
    states = [
        state
        for layer in cache.layers
        for state in getattr(layer, kind, {}).values()
        if state is not None
    ]
    assert states
    for state in states:
        state.zero_()
