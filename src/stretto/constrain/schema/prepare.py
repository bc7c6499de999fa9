"""A schema made ready: what masks hold of it, and what is judged as values close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...errors import InvalidRequest, Unsupported
from .document import Document, read
from .facts import impossible
from .rewrite import Rewriter, Weak
from .validate import Validator

Refuses = Callable[[dict[str, Any]], str]  # why masks do not take a schema; nothing where they do
REASONS = (  # what a refusal says, and what is then left to the judge
    ("not disjoint", ("patterns", "joined")),
    ("circular references", ("inline",)),
    ("min/maxProperties", ("counts",)),
    ("regex", ("regexes",)),
    ("too large", ("regexes", "patterns")),
    ("stack level", ("inline", "joined")),
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A schema for masks, which let through all that is valid, and the keywords whose values are to be judged."""

    document: Document
    judge: Validator
    schema: dict[str, Any]  # for masks
    loose: dict[tuple[int, str], str]  # by id of a node of the document and keyword: the pointer of what is judged

    @property
    def residues(self) -> list[str]:
        """The pointers of the keywords that are judged, each once."""
        return sorted({*self.loose.values()})


def prepare(schema: Any, refuses: Refuses) -> Prepared:
    """The schema for masks and judge. Raises InvalidRequest and Unsupported with the pointer of what is wrong.

    `refuses` tells why masks do not take a schema; what they refuse is left to the judge, as far as it can be.
    """
    try:
        document = read(schema)
        judge = Validator(document)
        if (pointer := impossible(document, judge, document.root)) is not None:
            raise InvalidRequest(f"{pointer}: nothing satisfies this schema", hint="mend it there")
        return _fitted(document, judge, refuses)
    except RecursionError:
        raise Unsupported("#: the schema is nested too deep", hint="move parts of it into $defs") from None


def _fitted(document: Document, judge: Validator, refuses: Refuses) -> Prepared:
    """The first form that masks take."""
    weak = Weak()
    while True:
        found = Rewriter(document, judge, weak).write()
        reason = refuses(found.schema)
        if not reason:
            return Prepared(document, judge, found.schema, found.loose)
        fields = [name for text, names in REASONS if text in reason for name in names if not getattr(weak, name)]
        if not fields:
            raise Unsupported(f"{_pointer(document, reason)}: no mask holds this: {reason}", hint="write it plainer")
        weak = replace(weak, **{fields[0]: True})


def _pointer(document: Document, reason: str) -> str:
    """The deepest place whose text the reason tells, else the whole schema."""
    for node in document.nodes:
        if isinstance(node, dict):
            for key in ("pattern", "format"):
                if key in node and f"/{node[key]}/" in reason:
                    return document.pointer(node, key)
    return "#"
