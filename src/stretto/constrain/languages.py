"""Languages that are at hand by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..errors import UnknownName, closest
from .lexicon import Language

SPACE = r"[ \n\t\r]+"
JSON = """
value -> object | array | STRING | NUMBER | true | false | null
object -> { } | { members }
members -> STRING : value | STRING : value , members
array -> [ ] | [ values ]
values -> value | value , values
"""
JSON_PATTERNS = {
    "STRING": r'"([^"\\' + "\x00-\x1f" + r']|\\["\\/bfnrt]|\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*"',
    "NUMBER": r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?",
    "SPACE": SPACE,
}
EXPRESSION = """
sum -> sum + product | sum - product | product
product -> product * factor | product / factor | factor
factor -> NUMBER | NAME | ( sum ) | - factor
"""
EXPRESSION_PATTERNS = {"NUMBER": r"\d+(\.\d+)?", "NAME": r"[a-zA-Z_]\w*", "SPACE": SPACE}
TEXTS = {"json": (JSON, JSON_PATTERNS), "expression": (EXPRESSION, EXPRESSION_PATTERNS)}


@cache
def language(name: str) -> Language:
    """The language of that name, or in the file of that path. Raises UnknownName, InvalidRequest.

    A file has rules line by line, `S -> a S NAME | ε`, patterns of terminals, `NAME ~ [a-z]+`, and of what may stand
    between them, `~ [ ]+`. Terminals without a pattern stand for themselves.
    """
    if name in TEXTS:
        grammar, patterns = TEXTS[name]
        return Language.of(grammar, patterns, ("SPACE",))
    path = Path(name)
    if not path.is_file():
        raise UnknownName(f"no language is named {name!r}, and no file", hint=closest(name, TEXTS))
    lines = path.read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if "->" in line.partition("~")[0]]
    pairs = [line.partition("~") for line in lines if "~" in line and line not in rules]
    named = {left.strip() or f" {at}": right.strip() for at, (left, _, right) in enumerate(pairs)}
    return Language.of("\n".join(rules), named, [each for each in named if each.startswith(" ")])
