"""Answers that are JSON and obey a schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, StrettoError
from .contract import Constraint, State, Work
from .given import text_of
from .guidance import Matching, opened, opened_by_bytes, refusal
from .tokens import Tokens

if TYPE_CHECKING:
    from .schema.judge import Judge
    from .schema.prepare import Prepared

ENTRY = Entry(
    name="jsonschemabench",
    family="diagnostics",
    source="arXiv 2501.10868 (JSONSchemaBench, MaskBench); guidance-ai/jsonschemabench",
    parts="",
    guarantee=Guarantee.NONE,
    number=202,
    summary="how many schemas are served, refused or answered wrongly, and what masks take, beside other engines",
    command="stretto bench constrain",
)

WORDS = ("true", "false")  # schemas that are no objects
ESCAPES = 'bfnrt"\\'  # may stand behind a backslash; not u: a key spelt by numbers would pass for another one


@dataclass(frozen=True, slots=True)
class Schema(Constraint):
    """The whole answer is one JSON value that is valid under a JSON Schema."""

    schema: str  # the JSON Schema as JSON, or a file that holds it
    spaces: bool = False  # whether white space may stand between the marks; without, none does

    name: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        self.prepared()

    def prepared(self) -> Prepared:
        """The schema as masks hold it. Raises InvalidRequest where there is none to read, or nothing satisfies it,
        Unsupported where it would not be held exactly, with the pointer of the keyword."""
        return _prepared(self._text())

    def _text(self) -> str:
        return self.schema if self.schema in WORDS else text_of(self.schema, self.name)

    def open(self, tokens: Tokens) -> State:
        text = self._text()
        prepared = _prepared(text)
        matching = opened(tokens, _grammar(prepared.schema, self.spaces), self.name)
        return matching if prepared.judge is None else self._judged(tokens, text, prepared, prepared.judge, matching)

    def examples(self) -> list[str]:
        return self.prepared().examples

    def _judged(self, tokens: Tokens, text: str, prepared: Prepared, judge: Judge, matching: Matching) -> State:
        """The state where masks do not hold all."""
        from .schema.ahead import Ahead
        from .schema.judged import Judged, Ruling
        from .schema.reader import Point

        key = (Ahead, text, self.spaces)  # not the grammar: what is judged may differ under the same masks

        def ahead() -> Ahead:
            start = opened_by_bytes(_grammar(prepared.schema, spaces=False))
            return Ahead(start, judge, self.spaces)

        ruling = Ruling(tokens, judge, prepared.residues, lambda: tokens.memory.of(key, ahead))
        return Judged(matching, ruling, [], [Point()], Work())


@lru_cache(maxsize=32)
def _prepared(text: str) -> Prepared:
    from .schema.prepare import prepare

    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the schema is no JSON: {error}", hint="see json-schema.org") from error
    try:
        return prepare(found, _refusal)
    except StrettoError as error:
        raise type(error)(f"schema: {error.message}", error.hint) from None


def _refusal(schema: dict[str, Any]) -> str:
    """Why masks do not take a schema; nothing where they do."""
    try:
        return refusal(_grammar(schema, spaces=False))
    except ValueError as error:  # where what is written is nested too deep for its reader
        return str(error)


def _grammar(schema: dict[str, Any], spaces: bool) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(
        json.dumps(schema),
        overrides={"whitespace_flexible": spaces, "lenient": False, "json_allowed_escapes": ESCAPES},
    )
