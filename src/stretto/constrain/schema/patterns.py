"""Patterns of texts: how masks hold them, exactly, more loosely, or not at all, and how Python reads them."""

from __future__ import annotations

import re

from ...errors import Unsupported

CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]", re.DOTALL)
CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1f]")  # characters that only a number spells
SPELT = re.compile(r"\\(?:x[01]|u00[01]|u\{|c[A-Za-z]|[0aev])")  # the same, in a pattern
UNKNOWN = re.compile(r"\(\?(?!:)|(?<!\\)(\\\\)*\\([bBk1-9cpP]|u\{)|\[\^?\]")  # to masks
ESCAPES = {
    "d": "0-9",
    "w": "A-Za-z0-9_",
    "s": "\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff",
}
OTHERS = {  # what these leave of all characters
    "D": "\\u0000-/:-\\U0010ffff",
    "W": "\\u0000-/:-@\\[-\\^`{-\\U0010ffff",
    "S": "\\u0000-\\u0008\\u000e-\\u001f!-\\u009f\\u00a1-\\u167f\\u1681-\\u1fff\\u200b-\\u2027"
    "\\u202a-\\u202e\\u2030-\\u205e\\u2060-\\u2fff\\u3001-\\ufefe\\uff00-\\U0010ffff",
}
ANY = "[^\\n\\r\\u2028\\u2029]"  # what a dot takes


def masked(pattern: str) -> bool:
    """Whether masks hold a pattern: none that looks ahead or behind, remembers, or knows where words end."""
    return not UNKNOWN.search(pattern)


def widened(pattern: str) -> bool:
    """Whether masks let through more: a negated class takes an escaped quote or backslash, though it shuts it out."""
    return any(each.startswith("[^") and not _takes(each, '"\\') for each in CLASS.findall(pattern))


def spelt_out(pattern: str) -> str:
    """The pattern with dots and spaces as ECMA 262 has them.

    To masks a dot is all but a line feed, and of spaces U+0085 is one and U+FEFF is none.
    """
    found, at, inside = "", 0, False
    while at < len(pattern):
        piece = pattern[at : at + 1 + (pattern[at] == "\\")]
        inside, at = piece == "[" or (inside and piece != "]"), at + len(piece)
        if piece in ("\\s", "\\S"):
            piece = _characters(piece[1], inside)
        elif piece == "." and not inside:
            piece = ANY
        found += piece
    return found


def unwritable(pattern: str) -> bool:
    """Whether a pattern asks for a character that masks never write."""
    rest = pattern
    for each in CLASS.findall(pattern):
        if each.startswith("[^") or _takes(each, "\n") or _takes(each, "a"):
            rest = rest.replace(each, "")
    return bool(CONTROL.search(rest) or SPELT.search(rest))


def _takes(characters: str, each: str) -> bool:
    """Whether a class takes all of these; not, where it cannot be told."""
    try:
        return all(re.fullmatch(characters, one) for one in each)
    except re.error:
        return False


def python_pattern(pattern: str, pointer: str) -> str:
    """A pattern of ECMA 262 for Python's `re`. Raises Unsupported where it has no such form."""
    found, at, inside = "", 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            piece, at = _escape(pattern, at, inside)
            found += piece
            continue
        if char == "[" and inside:
            char = "\\["
        elif char in "[]":
            inside = char == "["
        elif char == "$" and not inside:
            char = "\\Z"
        elif char == "." and not inside:
            char = ANY
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!", ""):
            char, at = "(?P<", at + 2
        found += char
        at += 1
    try:
        re.compile(found)
    except (re.error, OverflowError) as error:
        raise Unsupported(
            f"{pointer}: the pattern {pattern!r} cannot be judged: {error}", hint="write it plainer"
        ) from error
    return found


def _escape(pattern: str, at: int, inside: bool) -> tuple[str, int]:
    """What an escape is to Python, and where it ends."""
    char = pattern[at + 1]
    if char.lower() in ESCAPES:
        return _characters(char, inside), at + 2
    if char == "c" and pattern[at + 2 : at + 3].isalpha():
        return f"\\x{ord(pattern[at + 2]) % 32:02x}", at + 3
    if code := re.match(r"\\u\{([0-9a-fA-F]+)\}", pattern[at:]):
        return f"\\U{int(code[1], 16):08x}", at + len(code[0])
    if char in "/-" or not char.isalnum():
        return re.escape(char), at + 2
    return pattern[at : at + 2], at + 2


def _characters(escape: str, inside: bool) -> str:
    """The class of an escape such as s or S, or what it adds to the one that it stands in."""
    if escape in ESCAPES:
        return ESCAPES[escape] if inside else f"[{ESCAPES[escape]}]"
    return OTHERS[escape] if inside else f"[^{ESCAPES[escape.lower()]}]"
