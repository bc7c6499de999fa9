"""Languages that are at hand by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from ..errors import InvalidRequest, UnknownName, closest
from .formats import foreign
from .grammar import Grammar
from .lexicon import Language
from .pattern import Pattern

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
FORM = "rules, S -> a S NAME | ε, one a line; patterns of terminals, NAME ~ [a-z]+; of what stands between, ~ [ ]+"
TEXTS = {"json": (JSON, JSON_PATTERNS), "expression": (EXPRESSION, EXPRESSION_PATTERNS)}


def language(name: str) -> Language:
    """The language of that name, of the file of that path, or of rules as text. Raises UnknownName, InvalidRequest.

    A file has rules line by line, `S -> a S NAME | ε`, patterns of terminals, `NAME ~ [a-z]+`, and of what may stand
    between them, `~ [ ]+`. Terminals without a pattern stand for themselves. Lines that begin with # are comments.
    A file that is the same as when it was last read is the same language.
    """
    if name in TEXTS:
        return _built_in(name)
    if "\n" in name:
        return _parsed(name)
    try:
        if not Path(name).is_file():
            raise UnknownName(f"no language is named {name!r}, and no file", hint=closest(name, TEXTS))
        text = Path(name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRequest(f"{name}, line {line} is no UTF-8 text", hint="save the grammar as UTF-8") from error
    except (OSError, ValueError) as error:
        raise UnknownName(f"the file {name!r} cannot be read: {error}", hint=closest(name, TEXTS)) from error
    try:
        return _parsed(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error.message}", hint=error.hint) from error


@lru_cache(maxsize=64)
def as_language(pattern: str) -> Language:
    """The texts that match a pattern as a whole; also the empty one, where it may match nothing."""
    text = Pattern(pattern, empty=True)
    nothing = " | ε" if text.done(text.start) else ""
    return Language.of(f"answer -> TEXT{nothing}", {"TEXT": text})


@cache
def _built_in(name: str) -> Language:
    grammar, patterns = TEXTS[name]
    return Language.of(grammar, patterns, ("SPACE",))


@lru_cache(maxsize=64)
def _parsed(text: str) -> Language:
    """The language that a file holds. Raises InvalidRequest, with the line where there is one."""
    if (other := foreign(text)) is not None:
        raise InvalidRequest(f"line {other[0]}: this is {other[1]}, which is not read here", hint=FORM)
    rules: dict[int, str] = {}
    patterns: dict[str, tuple[int, Pattern]] = {}
    for at, line in enumerate(text.split("\n"), start=1):
        before, tilde, pattern = line.partition("~")
        if not line.strip() or line.startswith("#"):
            continue
        with _on_line(at):
            if "->" in before:
                rules[at] = line
            elif not tilde:
                raise InvalidRequest(f"{line.strip()!r} is neither a rule nor a pattern", hint=FORM)
            elif before.strip() in patterns:
                raise InvalidRequest(f"{before.strip()!r} has a second pattern", hint="write them as one, with |")
            else:
                patterns[before.strip() or f" {at}"] = (at, Pattern(pattern.strip()))
    for at, line in rules.items():
        with _on_line(at):
            Grammar.check(line, {*patterns, *(each.partition("->")[0].strip() for each in rules.values())})
    grammar = Grammar.parse("\n".join(rules.values()))
    for name, (at, _) in patterns.items():
        if not name.startswith(" ") and name not in grammar.terminals:
            what = "rules as well" if name in grammar.rules else "no place in any rule"
            raise InvalidRequest(f"line {at}: the pattern {name!r} has {what}", hint="give patterns to terminals alone")
    skipped = [name for name in patterns if name.startswith(" ")]
    return Language.of(grammar, {name: pattern for name, (_, pattern) in patterns.items()}, skipped)


@contextmanager
def _on_line(at: int) -> Iterator[None]:
    """Say on which line a mistake is."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"line {at}: {error.message}", hint=error.hint) from error
