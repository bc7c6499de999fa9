"""Answers that are JSON and obey a schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InvalidRequest
from .contract import Constraint, State
from .given import text_of
from .guidance import opened
from .loose import ESCAPES, require_exact
from .tokens import Tokens

WORDS = ("true", "false")  # schemas that are no objects


@dataclass(frozen=True, slots=True)
class Schema(Constraint):
    """The whole answer is one JSON value that is valid under a JSON Schema."""

    schema: str  # the JSON Schema as JSON, or a file that holds it
    spaces: bool = False  # whether white space may stand between the marks; without, none does

    name: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        self.document()

    def document(self) -> Any:
        """The schema as Python's own values. Raises InvalidRequest where there is none to read, Unsupported where it
        would not be held exactly."""
        text = self.schema if self.schema in WORDS else text_of(self.schema, self.name)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise InvalidRequest(f"the schema is no JSON: {error}", hint="see json-schema.org") from error
        if not isinstance(found, dict | bool):
            raise InvalidRequest(f"a schema is an object, true or false, not {text[:40]!r}", hint="see json-schema.org")
        require_exact(found)
        return found

    def open(self, tokens: Tokens) -> State:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(self.document()),
            overrides={"whitespace_flexible": self.spaces, "lenient": False, "json_allowed_escapes": ESCAPES},
        )
        return opened(tokens, grammar, self.name)
