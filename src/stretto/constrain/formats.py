"""Grammar files that others write, told by what they are: none of these is read here, and none may pass for ours."""

from __future__ import annotations

import json
import re

SCHEMA = {"$schema", "$ref", "$defs", "type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf"}
LARK_RULE = re.compile(r"\s*[?!]*_*[A-Za-z]\w*(\.-?\d+)?(\{[^}]*\})?\s*:(?!:)")
LARK = {  # what a Lark grammar may hold that has no counterpart in a file of ours
    "%import": re.compile(r"\s*%import\b"),
    "%ignore": re.compile(r"\s*%ignore\b"),
    "%declare": re.compile(r"\s*%(declare|override|extend)\b"),
    "an alias": re.compile(r".*\S\s*->\s*\w+\s*(//.*)?$"),
    "a priority": re.compile(r"\s*[?!]*\w+\.-?\d+\s*(\{[^}]*\})?\s*:"),
    "a template": re.compile(r"\s*[?!]*\w+\{[^}]*\}\s*:"),
    "a look-around": re.compile(r".*/.*\(\?<?[=!].*/"),
    "flags of a pattern": re.compile(r".*/[imslux]+\s*(\||$|->)"),
}


def foreign(text: str) -> tuple[int, str] | None:
    """What a text is if it is a grammar in another form, with the line (from 1) that shows it; None: it may be ours."""
    if (schema := _json(text)) is not None:
        return 1, schema
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if at := _first(lines, re.compile(r"\s*<?[\w-]+>?\s*::=")):
        return at, "a GBNF grammar" if _first(lines, re.compile(r"\s*root\s*::=")) else "an EBNF grammar with ::="
    if at := _first(lines, re.compile(r"\s*(lexer |parser )?grammar\s+\w+\s*;")):
        return at, "an ANTLR grammar"
    if at := _first(lines, re.compile(r"\s*(%%|%token\b|%start\b)")):
        return at, "a yacc grammar"
    marks = [_first(lines, LARK_RULE), *(_first(lines, LARK[name]) for name in ("%import", "%ignore", "%declare"))]
    if any(marks):
        held = {name: at for name, form in LARK.items() if (at := _first(lines, form))}
        return min(held.values(), default=max(marks)), "a Lark grammar" + (f" with {_listed(held)}" if held else "")
    if at := _first(lines, re.compile(r"\s*\w[\w -]*=[^=]")):
        return at, "an EBNF grammar" if ";" in text else "a grammar with = for ->"
    return None


def _json(text: str) -> str | None:
    """What a text in JSON is; None where it is no JSON, but any of its scalars may be a line of ours."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and SCHEMA & found.keys():
        return "a JSON Schema"
    return "a JSON file" if isinstance(found, dict | list) else None


def _first(lines: list[str], form: re.Pattern[str]) -> int:
    """The number of the first line that begins with a form; 0: there is none. Comments do not count."""
    return next((at for at, line in enumerate(lines, 1) if form.match(line) and not line.startswith(("#", "//"))), 0)


def _listed(names: dict[str, int]) -> str:
    return ", ".join(f"{name} (line {at})" for name, at in names.items())
