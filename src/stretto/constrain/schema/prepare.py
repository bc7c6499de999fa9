"""A schema made ready: what masks hold of it, and which of its keywords are left to a judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...errors import InvalidRequest, Unsupported
from .document import PLACE, Document, Node, read, schemas_in
from .examples import examples
from .facts import impossible
from .judge import Judge
from .residue import residue
from .rewrite import Keyword, Rewriter
from .validate import Validator

Refuses = Callable[[dict[str, Any]], str]  # why masks do not take a schema; nothing where they do
SPARED = (  # what masks do without, where they refuse a schema: first what costs least
    *("maxProperties", "minProperties", "multipleOf", "patternProperties", "pattern", "format", "propertyNames"),
    *("contains", "uniqueItems", "not", "if", "dependentSchemas", "dependentRequired", "unevaluatedItems"),
    *("unevaluatedProperties", "additionalProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("oneOf", "anyOf", "$ref", "allOf"),
)
TRYING = 1_000  # steps for which it counts to ask once what masks refuse
JOINING = ("$ref", "not", "if", "dependentSchemas", "oneOf", "anyOf", "allOf")  # by which nodes meet
IN_PLACE = {*JOINING, "then", "else"}  # hold schemas of the same value
TOGETHER = {"patternProperties": "additionalProperties"}  # the other one says something else without the first


@dataclass(frozen=True, eq=False)
class Prepared:
    """A schema for masks, which let through all that is valid, and the keywords whose values are to be judged."""

    schema: dict[str, Any]  # for masks
    residues: list[str]  # the pointers of the keywords that are judged
    judge: Judge | None  # of these keywords; None: masks hold them all
    source: tuple[Document, Validator]  # the schema itself

    @cached_property
    def examples(self) -> list[str]:
        """A few small valid values as JSON; none where none was found."""
        return examples(*self.source)


def prepare(schema: Any, refuses: Refuses) -> Prepared:
    """The schema for masks and judge. Raises InvalidRequest and Unsupported with the pointer of what is wrong.

    `refuses` tells why masks do not take a schema; what they refuse is left to the judge, as far as it can be.
    """
    try:
        document = read(schema)
        judge = Validator(document)
        if (pointer := impossible(document, judge, document.root)) is not None:
            raise InvalidRequest(f"{pointer}: nothing satisfies this schema", hint="mend it there")
        return _Fitting(document, judge, refuses).fitted()
    except RecursionError:
        raise Unsupported("#: the schema is nested too deep", hint="move parts of it into $defs") from None


class _Fitting:
    """The search for the keywords that masks refuse."""

    def __init__(self, document: Document, judge: Validator, refuses: Refuses) -> None:
        self._document, self._judge, self._refuses = document, judge, refuses
        self._without: set[Keyword] = set()

    def fitted(self) -> Prepared:
        """The first form that masks take: as it is, without what they refuse node by node, without what they refuse
        where nodes meet."""
        for step in (self._nothing, self._node_by_node, self._where_they_meet):
            step()
            writer = Rewriter(self._document, self._judge, self._without)
            schema = writer.whole()
            reason = self._refuses(schema)
            if not reason:
                pointers = sorted({*writer.loose.values()})
                judge = Judge(*residue(self._document, writer.loose)) if pointers else None
                return Prepared(schema, pointers, judge, (self._document, self._judge))
        raise Unsupported(
            f"{_blamed(self._document, reason)}: no mask holds this: {reason}", hint="write it plainer, or leave it out"
        )

    def _nothing(self) -> None:
        pass

    def _node_by_node(self) -> None:
        for node in self._document.definitions.values():
            self._alone(node)

    def _where_they_meet(self) -> None:
        self._spare(filter(_joins, self._document.objects), JOINING, self._whole)

    def _alone(self, node: Node) -> None:
        """Leave out what masks refuse in a node, its references aside; what lies deeper first."""
        if not self._refused(node):
            return
        for each in _below(node):
            self._alone(each)
        self._spare(_in_place(node), SPARED, lambda: self._refused(node))

    def _spare(self, nodes: Iterable[Node], keywords: Iterable[str], refused: Callable[[], bool]) -> None:
        """Leave out keywords of these nodes until nothing is refused."""
        found = [node for node in nodes if isinstance(node, dict)]
        for keyword in keywords:
            for node in found:
                if keyword in node and (id(node), keyword) not in self._without:
                    if not refused():
                        return
                    self._without |= {(id(node), keyword), (id(node), TOGETHER.get(keyword, keyword))}

    def _refused(self, node: Node) -> bool:
        self._document.step(node, TRYING)
        return bool(self._refuses(Rewriter(self._document, self._judge, self._without).alone(node)))

    def _whole(self) -> bool:
        self._document.step(self._document.root, TRYING)
        return bool(self._refuses(Rewriter(self._document, self._judge, self._without).whole()))


def _blamed(document: Document, reason: str) -> str:
    """The pointer of the definition that a reason names, or of the whole."""
    named = re.search(re.escape(PLACE) + r"(\w+)", reason)
    return document.pointer(document.definitions[named[1]] if named else document.root)


def _joins(node: Node) -> bool:
    """Whether a node joins what it says with what a reference leads to."""
    refers = any(isinstance(each, dict) and "$ref" in each for each in _in_place(node))
    return refers and isinstance(node, dict) and (len(node) > 1 or "allOf" in node)


def _in_place(node: Node) -> Iterator[Node]:
    """The node, and the schemas in it that speak of the same value."""
    yield node
    for name, value in node.items() if isinstance(node, dict) else ():
        if name in IN_PLACE:
            for each in schemas_in(name, value):
                yield from _in_place(each)


def _below(node: Node) -> Iterator[Node]:
    """The schemas right in a node."""
    for name, value in node.items() if isinstance(node, dict) else ():
        yield from schemas_in(name, value)
