"""The process that measures."""

from __future__ import annotations

import logging
import os
import warnings


def set_up_process() -> None:
    """One thread, no GPU, no chatter; before torch and SGLang are imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
