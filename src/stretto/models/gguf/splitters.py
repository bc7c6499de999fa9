"""Where byte-level tokenizers cut a text before they join anything, by the names that GGUF files have for it.

Each name stands for expressions that are looked for one after the other; what one finds is a piece, and so is what
lies between. They are those of the checkpoints' own tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...errors import closest


class Splitter(NamedTuple):
    """How a text is cut, and what the checkpoints that cut like that have in common."""

    patterns: tuple[str, ...]
    whole: bool = False  # a piece that is a token is that token, whatever joining would make of it
    begins: bool = False  # texts begin with the token that begins texts, where the file does not say


_SHORT = "'s|'t|'re|'ve|'m|'ll|'d"
_WORDS = _SHORT + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = rf"(?i:{_SHORT})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_MARKS = r"[\p{P}\$\+<=>\^~\|]+"

_GPT2 = Splitter((_WORDS,))
_DIGITS = Splitter((r"\p{N}", _WORDS))
_LLAMA3 = Splitter((_LETTERS + r"|\p{N}{1,3}" + _REST,))
_LLAMA3_WHOLE = _LLAMA3._replace(whole=True, begins=True)
_QWEN2 = Splitter((_LETTERS + r"|\p{N}" + _REST,))
_QWEN35 = rf"(?i:{_SHORT})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*"
_TEKKEN = _CASED + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _named(splitter: Splitter, names: Iterable[str]) -> dict[str, Splitter]:
    return dict.fromkeys(names, splitter)


SPLITTERS: Mapping[str, Splitter] = {
    "default": Splitter((_MARKS, _WORDS, r"\p{N}+", "[0-9][0-9][0-9]")),
    "falcon": Splitter((r"[\p{P}\$\+<=>\^~\|`]+", _WORDS, "[0-9][0-9][0-9]")),
    **_named(_GPT2, ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "a.x-4.0")),
    **_named(_GPT2, ("mellum", "gigachat", "modern-bert")),
    **_named(_DIGITS, ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2")),
    **_named(_LLAMA3_WHOLE, ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")),
    **_named(_LLAMA3, ("dbrx", "smaug-bpe", "glm4", "chatglm-bpe")),
    **_named(_QWEN2, ("qwen2", "deepseek-r1-qwen", "kormo", "stablelm2", "megrez", "hunyuan", "solar-open", "grok-2")),
    "qwen35": Splitter((_QWEN35 + r"|\s*[\r\n]+|\s+(?!\S)|\s+",)),
    "tekken": Splitter((_TEKKEN,), whole=True, begins=True),
    "deepseek-coder": Splitter(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")),
}


def near(name: str) -> str:
    """A hint for a name that is not known."""
    return closest(name, SPLITTERS)
