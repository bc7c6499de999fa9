"""Values judged by the `jsonschema` library, under a schema in the one form or any part of one."""

from __future__ import annotations

import re
from typing import Any, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ...errors import Unsupported
from .document import PLACE, ROOT, Document, Node
from .formats import CHECKER

NUMBERS = (int, float)
PATTERNS = ("pattern", "patternProperties")
ESCAPES = {
    "d": "0-9",
    "w": "A-Za-z0-9_",
    "s": "\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff",
}


class Validator:
    """Judges values under the nodes of a document. Patterns mean what ECMA 262 says: digits are those of ASCII."""

    def __init__(self, document: Document) -> None:
        self._patterns: dict[str, str] = {}
        self._document = document
        definitions = {name: self._read(node) for name, node in document.definitions.items()}
        whole = {"$ref": PLACE + ROOT, "$defs": definitions}
        self._whole = Draft202012Validator(whole, format_checker=CHECKER)
        self._known: dict[int, tuple[Node, Draft202012Validator]] = {}

    def valid(self, node: Node, value: Any) -> bool:
        """Whether a value is valid under a node, of the document or made of nodes of it."""
        if isinstance(node, bool):
            return node
        if id(node) not in self._known:
            self._known[id(node)] = (node, self._whole.evolve(schema=self._read(node)))
        return bool(self._known[id(node)][1].is_valid(value))

    def _read(self, node: Any, pointer: str = "#") -> Any:
        """The node with its patterns as Python's `re` reads them."""
        if not isinstance(node, dict):
            return node
        pointer = self._document.pointers.get(id(node), pointer)
        found: dict[str, Any] = {}
        for name, value in node.items():
            below = f"{pointer}/{name}"
            if name == "pattern":
                found[name] = python_pattern(value, below)
            elif name == "patternProperties":
                found[name] = {
                    python_pattern(key, f"{below}/{key}"): self._read(each, below) for key, each in value.items()
                }
            elif name in ("properties", "dependentSchemas"):
                found[name] = {key: self._read(each, below) for key, each in value.items()}
            elif name in ("allOf", "anyOf", "oneOf", "prefixItems"):
                found[name] = [self._read(each, below) for each in value]
            else:
                found[name] = value if name in ("enum", "const") else self._read(value, below)
        return found


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
    if char in ESCAPES:
        return (ESCAPES[char] if inside else f"[{ESCAPES[char]}]"), at + 2
    if char.lower() in ESCAPES and not inside:
        return f"[^{ESCAPES[char.lower()]}]", at + 2
    if char == "c" and pattern[at + 2 : at + 3].isalpha():
        return f"\\x{ord(pattern[at + 2]) % 32:02x}", at + 3
    if code := re.match(r"\\u\{([0-9a-fA-F]+)\}", pattern[at:]):
        return f"\\U{int(code[1], 16):08x}", at + len(code[0])
    if char in "/-" or not char.isalnum():
        return re.escape(char), at + 2
    return pattern[at : at + 2], at + 2


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same to JSON Schema: 1 and 1.0 are, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, NUMBERS) and isinstance(right, NUMBERS):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], cast(dict[str, Any], right)[key]) for key in left)
    return type(left) is type(right) and bool(left == right)
