"""Answers that are a sentence of a grammar in the forms that others write: Lark's and llama.cpp's GBNF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InvalidRequest
from .contract import Constraint, State
from .given import text_of
from .guidance import opened
from .tokens import Tokens


@dataclass(frozen=True, slots=True)
class Lark(Constraint):
    """The whole answer is a sentence of a Lark grammar, in the dialect of llguidance; its start rule is `start`."""

    grammar: str  # the grammar itself, or a file that holds it

    name: ClassVar[str] = "lark"

    def __post_init__(self) -> None:
        text_of(self.grammar, self.name)

    def open(self, tokens: Tokens) -> State:
        from llguidance import LLMatcher

        return opened(tokens, LLMatcher.grammar_from_lark(text_of(self.grammar, self.name)), self.name)


@dataclass(frozen=True, slots=True)
class Gbnf(Constraint):
    """The whole answer is a sentence of a GBNF grammar, as llama.cpp reads them; its start rule is `root`."""

    grammar: str  # the grammar itself, or a file that holds it

    name: ClassVar[str] = "gbnf"

    def __post_init__(self) -> None:
        self._as_lark()

    def open(self, tokens: Tokens) -> State:
        from llguidance import LLMatcher

        return opened(tokens, LLMatcher.grammar_from_lark(self._as_lark()), self.name)

    def _as_lark(self) -> str:
        """The same in Lark's form. Raises InvalidRequest where it cannot be read."""
        from llguidance.gbnf_to_lark import gbnf_to_lark

        try:
            return str(gbnf_to_lark(text_of(self.grammar, self.name)))
        except InvalidRequest:
            raise
        except Exception as error:  # it raises whatever its parser came upon
            raise InvalidRequest(
                f"this GBNF grammar cannot be read: {error}", hint="see llama.cpp's grammars"
            ) from error
