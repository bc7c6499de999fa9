"""Text in the colours of those who guessed it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from ..engine import Engine
    from ..generation import Generation
    from ..request import Request

PALETTE = (32, 36, 33, 35, 34, 31)  # green, cyan, yellow, magenta, blue, red: readable on dark and light


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def in_colours() -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR")


class Colours:
    """A colour for each source in the order they appear; the model's own tokens stay plain."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._codes: dict[str, int] = {}

    def paint(self, text: str, source: str) -> str:
        """The text between the escapes of its source's colour."""
        if not self.enabled or not source or not text:
            return text
        code = self._codes.setdefault(source, PALETTE[len(self._codes) % len(PALETTE)])
        return f"\x1b[{code}m{text}\x1b[0m"

    def legend(self) -> str:
        """One line that names the colours seen so far."""
        guessed = [self.paint(source, source) for source in self._codes]
        return "guessed by: " + ", ".join([*guessed, "plain: the model itself"])


class Painter:
    """The text of one answer, token by token, each in the colour of its source."""

    def __init__(self, engine: Engine, prompt: Sequence[int], request: Request, colours: Colours) -> None:
        ends = engine.end_tokens if request.end_tokens is None else request.end_tokens
        self._text = engine.codec.text(prompt, request.stop_strings, frozenset(ends))
        self._colours = colours

    def feed(self, tokens: Sequence[int], sources: Sequence[str]) -> str:
        """What the next tokens add; a character of several tokens has the colour of its last."""
        painted = ""
        for token, source in zip(tokens, sources, strict=True):
            self._text.push(token)
            painted += self._colours.paint(self._text.release(), source)
        return painted

    def finish(self) -> str:
        """What was held back, since it might have become a stop string or a character."""
        self._text.extend([], last=True)
        return self._text.release(last=True)


class Margin:
    """Text that comes in pieces, in lines that end between words; what has no spaces breaks at the margin."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._at = 0  # columns of this line that are taken
        self._word = ""  # what may still grow, with its colours
        self._long = 0  # its columns

    def feed(self, text: str) -> str:
        """What can be written now: words that are complete."""
        return "".join(map(self._take, re.findall(r"\x1b\[\d+m|.", text, re.DOTALL)))

    def finish(self) -> str:
        """The last word."""
        begun, self._word, long, self._long = self._word, "", self._long, 0
        new = "\n" if self._at and self._at + long > self._width else ""
        self._at = long if new else self._at + long
        return new + begun

    def _take(self, part: str) -> str:
        if part.startswith("\x1b"):  # takes no room
            self._word += part
            return ""
        if part.isspace():
            done = self.finish()
            self._at = 0 if part == "\n" else self._at + 1
            return done + (part if self._at <= self._width else "")
        columns = 2 if east_asian_width(part) in "WF" else 1
        anywhere = columns == 2 or self._long + columns > self._width  # may the line break before this one
        done = self.finish() if anywhere else ""
        self._word += part
        self._long += columns
        return done


def painted(engine: Engine, answer: Generation, request: Request, colours: Colours) -> str:
    """A finished answer in colours."""
    if not colours.enabled:
        return answer.text
    sources = {place: source for step in answer.steps for place, source in zip(step.places, step.sources, strict=True)}
    painter = Painter(engine, answer.prompt_tokens, request, colours)
    first = len(answer.prompt_tokens)
    text = painter.feed(answer.tokens, [sources.get(first + at, "") for at in range(len(answer.tokens))])
    return text + painter.finish()
