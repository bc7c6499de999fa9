"""Bytes as symbols: tokens where a tokenizer has them, and bytes where it has not. No byte is lost or changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ..constrain.tokens import Tokens

Symbol = int | bytes  # a token, or bytes as they are
LONGEST = 256  # of bytes in one symbol
BAD = re.compile("[\udc80-\udcff](?:.{0,8}[\udc80-\udcff])*", re.DOTALL)  # no UTF-8, with short gaps; see PEP 383
BLANKS = re.compile(rb"\s")


def symbols(text: bytes, tokens: Tokens, special: Collection[str] = ()) -> list[Symbol]:
    """What a text is written with; `special` are texts that the tokenizer would read as control tokens."""
    found: list[Symbol] = []
    for piece, bad in _pieces(text, special):
        if bad:
            found += [piece[at : at + LONGEST] for at in range(0, len(piece), LONGEST)]
        else:
            found += _spelt(piece, tokens)
    return found


def _pieces(text: bytes, special: Collection[str]) -> Iterator[tuple[bytes, bool]]:
    """The text in parts, and whether each is no UTF-8; what looks like a control token is a part by itself."""
    decoded = text.decode("utf-8", "surrogateescape")
    control = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
    at = 0
    for bad in [*BAD.finditer(decoded), None]:
        good, start = decoded[at : bad.start() if bad else None], 0
        for each in control.finditer(good):
            yield good[start : each.start()].encode(), False
            yield each.group().encode(), False
            start = each.end()
        yield good[start:].encode(), False
        if bad:
            yield bad.group().encode("utf-8", "surrogateescape"), True
            at = bad.end()


def _spelt(text: bytes, tokens: Tokens) -> Iterator[Symbol]:
    """One piece of UTF-8; what no token spells stays bytes, up to where one may go on."""
    while text:
        spelt = tokens.spell(text)
        yield from spelt
        text = text[sum(len(tokens.text_of(token)) for token in spelt) :]
        if text:
            firsts = {piece[0] for piece in tokens.texts}
            size = next((at for at in range(1, len(text)) if text[at] in firsts), len(text))
            yield text[: min(size, LONGEST)]
            text = text[min(size, LONGEST) :]


def cut(text: bytes, size: int) -> list[bytes]:
    """A text in parts of at most `size` bytes, cut behind white space where the last quarter of a part has some."""
    found = []
    while len(text) > size:
        blank = max((each.end() for each in BLANKS.finditer(text, size - size // 4, size)), default=size)
        found.append(text[:blank])
        text = text[blank:]
    return [*found, text] if text else found
