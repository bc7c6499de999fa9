"""transformers' tokenizer of a folder, for what is not read from its files alone (tokenizer.py)."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

LONG_TEXT = "sequence-length-is-longer-than-the-specified-maximum"  # a warning of no use: lengths are checked here
TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")  # how such a file begins: a token in base 64, and its rank


def stock(folder: Path, *, general: bool = False) -> PreTrainedTokenizerBase:
    """transformers' tokenizer of a folder; `general`: known to be of the class that takes tokenizer.json as it is, so
    that the others need no import. Raises ModelError.
    """
    if general:
        from transformers import PreTrainedTokenizerFast as Kind
    else:
        from transformers import AutoTokenizer as Kind

    from .quiet import quiet

    with quiet():
        try:
            tokenizer: PreTrainedTokenizerBase = Kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # the Rust library raises bare Exceptions
            _check_packed(folder, error)
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"the tokenizer in {folder} does not load: {reason}", hint="copy its files again"
            ) from error
    tokenizer.deprecation_warnings[LONG_TEXT] = True
    return tokenizer


def _check_packed(folder: Path, error: Exception) -> None:
    """Say what is really missing where a folder has its tokenizer in one file that only other packages read."""
    file = next((folder / name for name in ("tokenizer.model", "spiece.model") if (folder / name).exists()), None)
    if file is None or (folder / "tokenizer.json").exists():
        return
    begun = file.read_bytes()[:64]
    needed = ("tiktoken",) if TIKTOKEN.match(begun) else ("sentencepiece", "protobuf")
    missing = [name for name in needed if find_spec({"protobuf": "google"}.get(name, name)) is None]
    if missing:
        raise ModelError(
            f"{folder} has no tokenizer.json, only {file.name}, which is read by {' and '.join(needed)}",
            hint=f"pip install {' '.join(missing)}, or copy the model's tokenizer.json beside it",
        ) from error
