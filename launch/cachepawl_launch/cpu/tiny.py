"""Tiny random checkpoints that stock SGLang and transformers both load.

``python -m cachepawl_launch.cpu.tiny OUT_DIR [family ...]`` writes one folder per family.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cachepawl_launch.cpu.tiny_config import BOS, EOS, FAMILIES, PAD, config_of
from cachepawl_launch.cpu.tiny_tokenizer import write_tokenizer
from cachepawl_launch.cpu.tiny_weights import write_weights

__all__ = ["FAMILIES", "make_tiny"]

# Written last: a folder that has it is complete. Its number changes with the recipe.
_MARKER = "cachepawl-tiny.json"
_RECIPE = 1


def make_tiny(
    family: str,
    out_dir: Path,
    *,
    wide: bool = False,
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of `family` to ``out_dir / family`` unless it is there already.

    With `wide` it has shapes that a GPU's kernels take, and its folder is ``family-wide``.
    `changes` to its configuration make another model; give it a `name` of its own, which is
    the folder's.

    The folder appears complete, by one rename, so that several processes may ask for the same
    one at once. Takes seconds; the same bytes every time.

    Returns:
        The folder.

    Raises:
        ValueError: `family` is not one of `FAMILIES`.
        FileExistsError: the folder exists but this recipe did not make it.
    """
    config = config_of(family, wide=wide) | dict(changes or {})
    target = out_dir / (name or (f"{family}-wide" if wide else family))
    if target.exists():
        return _checked(target)
    out_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{family}-", dir=out_dir))
    try:
        _write(draft, family, config)
        draft.chmod(0o755)
        os.rename(draft, target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _checked(target)


def _write(folder: Path, family: str, config: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=1))
    write_tokenizer(folder)
    write_weights(folder)
    (folder / _MARKER).write_text(json.dumps({"family": family, "recipe": _RECIPE}))


def _checked(folder: Path) -> Path:
    marker = folder / _MARKER
    if not marker.is_file() or json.loads(marker.read_text()).get("recipe") != _RECIPE:
        raise FileExistsError(f"{folder} is not a checkpoint of this recipe: remove it first")
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Write the families named on the command line, all of them when none is named."""
    parser = argparse.ArgumentParser(prog="python -m cachepawl_launch.cpu.tiny")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("families", nargs="*", metavar="family", help=", ".join(FAMILIES))
    options = parser.parse_args(argv)
    try:
        families = options.families or FAMILIES
        for family in families:
            config_of(family)  # an unknown name stops everything before anything is written
        for family in families:
            folder = make_tiny(family, options.out_dir)
            size = sum(f.stat().st_size for f in folder.iterdir())
            print(f"{folder}  {size / 1e6:.1f} MB")
    except (ValueError, OSError) as error:
        print(f"tiny: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
