"""What scorers and segmenters make of a branch's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..errors import InvalidRequest

Decode = Callable[[Sequence[int]], str]


def text_of(tokens: Sequence[int], decode: Decode | None) -> str:
    """The text of tokens; without a tokenizer, the ids between spaces."""
    return " ".join(map(str, tokens)) if decode is None else decode(tokens)


def tokens_of(text: str, encode: Callable[[str], list[int]] | None) -> list[int]:
    """The tokens of a text; without a tokenizer it holds their ids, between spaces. Raises InvalidRequest."""
    if encode is not None:
        return encode(text)
    try:
        return [int(each) for each in text.split()]
    except ValueError as error:
        raise InvalidRequest(f"there is no tokenizer for {text!r}", hint="load one, or write token ids") from error


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises InvalidRequest where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidRequest(f"{pattern!r} is no regular expression: {error}", hint="mend it") from error
