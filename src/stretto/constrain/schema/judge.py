"""What is known of a value that has not ended: valid whatever comes, invalid whatever comes, or neither yet.

In three values, as Kleene's logic has them: True, False, and None for what hangs on the rest. Whatever has closed is
judged by the validator; the rules here are only for what is open around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any, NamedTuple

from .document import Document, Node
from .facts import kinds
from .reader import NOTHING, Point
from .unfinished import Container, Open, Scalar, opened
from .validate import Validator

Verdict = bool | None
MOST = 50_000  # verdicts that are kept
NUMBERS = {"integer", "fraction"}
JOINING = frozenset(("$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"))  # hold schemas of the same value
UNEVALUATED = frozenset(("unevaluatedItems", "unevaluatedProperties"))  # ask what those have looked at
UNIQUE: Node = {"uniqueItems": True}


class Known(NamedTuple):
    """What is known at a point."""

    verdict: Verdict
    depth: int  # of the innermost value that it hangs on; 0: of none that is open

    @property
    def hangs(self) -> bool:
        """Whether it hangs on a value that is open, not on later ones alone."""
        return self.verdict is None and self.depth > 0


class Judge:
    """Judges points of a text under one schema.

    A number beyond all floats that cannot be judged, as it has no remainder, makes the whole text invalid.
    """

    def __init__(self, document: Document, root: Node) -> None:
        self._document, self._root = document, root
        self._validator = Validator(document)
        self._known: dict[tuple[int, int, str | None], tuple[Node, Any, bool]] = {}  # with what the ids are of
        self._others: dict[int, Node] = {}  # by the id of a node: its keywords that tell of members by names
        self._alone: dict[int, Node] = {}  # those that hold no schemas of the same value
        self._depth = 0  # of the innermost value on which the verdict hangs that is made just now
        self._lock = RLock()  # all rows under one schema have the same judge

    def verdict(self, point: Point) -> Known:
        """What is known at a point."""
        with self._lock:
            self._depth = 0
            try:
                found = self.of(self._root, point.root if point.root is not NOTHING else opened(point))
            except OverflowError:
                return Known(False, 0)
            return Known(found, self._depth)

    def ends_well(self, point: Point) -> bool:
        """Whether the text may end here: the whole value has closed, and is valid."""
        value = point.finished()
        with self._lock:
            try:
                return value is not NOTHING and self._closed(self._root, value)
            except OverflowError:
                return False

    def of(self, node: Node, value: Any) -> Verdict:
        """What is known of a value, open or not, under a node."""
        if isinstance(node, bool):
            return node
        if not isinstance(value, Scalar | Container):
            return self._closed(node, value)
        return both(RULES.get(name, _unknown)(self, node, value) for name in node)

    def _closed(self, node: Node, value: Any, key: str | None = None) -> bool:
        """Whether what has closed is valid, or an object of it alone by that key.

        It is remembered, as the same values are asked for at every point to come.
        """
        asked = (id(node), id(value), key)
        if asked not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            valid = self._valid(node, value) if key is None else self._validator.valid(node, {key: value})
            self._known[asked] = (node, value, valid)
        return self._known[asked][2]

    def _valid(self, node: Node, value: Any) -> bool:
        """By the validator, but for schemas of the same value: it would look for all that is wrong in all of them."""
        if isinstance(node, bool) or JOINING.isdisjoint(node) or not UNEVALUATED.isdisjoint(node):
            return self._validator.valid(node, value)
        if id(node) not in self._alone:
            self._alone[id(node)] = {name: node[name] for name in node if name not in JOINING}
        joined = (RULES[name](self, node, value) for name in node if name in JOINING)
        return self._validator.valid(self._alone[id(node)], value) and all(joined)

    def hangs(self, value: Open, contents: bool = False) -> Verdict:
        """Nothing is known: it hangs on the end of a value, or its keys; or on the contents of what is open in it."""
        self._depth = max(self._depth, value.depth + contents)
        return None

    def target(self, node: dict[str, Any]) -> Node:
        """What a node's $ref names."""
        return self._document.target(node)

    def others(self, node: dict[str, Any], value: Container) -> Verdict:
        """The members that are told by the names of others, as far as they are there."""
        assert isinstance(value.closed, dict), "only objects have members"
        if "patternProperties" in node or "propertyNames" in node:
            said = self._others.setdefault(id(node), {name: node[name] for name in OTHERS if name in node})
            held: Verdict = all(self._closed(said, member, key) for key, member in value.closed.items())
            contents = value.key is not None
        else:
            named, rest = node.get("properties", ()), node["additionalProperties"]
            held = both(self.of(rest, member) for key, member in value.members() if key not in named)
            contents = False
        return held if held is False else self.hangs(value, contents)

    def unique(self, node: dict[str, Any], value: Container) -> Verdict:
        """Items that have closed."""
        return self.hangs(value, contents=True) if self._closed(UNIQUE, value.closed) else False


def both(each: Iterable[Verdict]) -> Verdict:
    """Whether all hold."""
    found: Verdict = True
    for one in each:
        if one is False:
            return False
        found = found and one
    return found


def opposite(verdict: Verdict) -> Verdict:
    """Whether something does not hold."""
    return None if verdict is None else not verdict


def _unknown(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return judge.hangs(value, contents=True)


def _told_elsewhere(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return True


def _of_kind(kind: str, rule: Callable[[Judge, dict[str, Any], Any], Verdict]) -> Rule:
    """A rule for values of one kind: others are valid, what has not begun hangs on what it will be."""

    def applied(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
        if kind not in value.kinds:
            return True
        return rule(judge, node, value) if isinstance(value, Container) else judge.hangs(value)

    return applied


def _reference(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return judge.of(judge.target(node), value)


def _all_of(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return both(judge.of(each, value) for each in node["allOf"])


def _any_of(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return opposite(both(opposite(judge.of(each, value)) for each in node["anyOf"]))


def _one_of(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    each = [judge.of(branch, value) for branch in node["oneOf"]]
    if each.count(True) > 1 or each.count(False) == len(each):
        return False
    return None if None in each else True


def _not(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return opposite(judge.of(node["not"], value))


def _if(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    holds = judge.of(node["if"], value)
    ways = {True: ("then",), False: ("else",), None: ("then", "else")}[holds]
    found = {judge.of(node.get(way, True), value) for way in ways}
    return found.pop() if len(found) == 1 else None


def _type(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    shared = value.kinds & kinds(node["type"])
    return False if not shared else True if shared == value.kinds else judge.hangs(value)


def _values(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    values = node["enum"] if "enum" in node else [node["const"]]
    return judge.hangs(value, contents=True) if any(map(value.may_be, values)) else False


def _text(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return judge.hangs(value) if "string" in value.kinds else True


def _number(judge: Judge, node: dict[str, Any], value: Open) -> Verdict:
    return judge.hangs(value) if value.kinds & NUMBERS else True


def _required(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    return True if value.keys >= {*node["required"]} else judge.hangs(value)


def _properties(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    """Those that are there already; those that are not hang on nothing that is open now."""
    named = node["properties"]
    there = both(judge.of(named[key], member) for key, member in value.members() if key in named)
    return there if named.keys() <= value.keys or not there else None


def _key_count(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    found = len(value.keys)
    if found > node.get("maxProperties", found):
        return False
    return True if "maxProperties" not in node and found >= node["minProperties"] else judge.hangs(value)


def _dependent_required(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    return judge.hangs(value)


def _dependent_schemas(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    there = both(judge.of(below, value) for key, below in node["dependentSchemas"].items() if key in value.keys)
    return there if there is False else judge.hangs(value)


def _items(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    first, rest = node.get("prefixItems", []), node.get("items", True)
    there = both(judge.of(first[at] if at < len(first) else rest, item) for at, item in enumerate(value.items))
    return there if there is False else None


def _item_count(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    found = len(value.items)
    if found > node.get("maxItems", found):
        return False
    return True if "maxItems" not in node and found >= node["minItems"] else judge.hangs(value, contents=True)


def _contains(judge: Judge, node: dict[str, Any], value: Container) -> Verdict:
    least, most = node.get("minContains", 1), node.get("maxContains")
    found = sum(judge.of(node["contains"], item) is True for item in value.items)
    if most is not None and found > most:
        return False
    return True if most is None and found >= least else judge.hangs(value, contents=True)


Rule = Callable[[Judge, dict[str, Any], Open], Verdict]
OTHERS = ("properties", "patternProperties", "additionalProperties", "propertyNames")
RULES: dict[str, Rule] = {
    "$ref": _reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "type": _type,
    **dict.fromkeys(("enum", "const"), _values),
    **dict.fromkeys(("pattern", "format", "minLength", "maxLength"), _text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _number),
    "required": _of_kind("object", _required),
    "properties": _of_kind("object", _properties),
    **dict.fromkeys(OTHERS[1:], _of_kind("object", Judge.others)),
    **dict.fromkeys(("minProperties", "maxProperties"), _of_kind("object", _key_count)),
    "dependentRequired": _of_kind("object", _dependent_required),
    "dependentSchemas": _of_kind("object", _dependent_schemas),
    **dict.fromkeys(("items", "prefixItems"), _of_kind("array", _items)),
    **dict.fromkeys(("minItems", "maxItems"), _of_kind("array", _item_count)),
    "uniqueItems": _of_kind("array", Judge.unique),
    "contains": _of_kind("array", _contains),
    **dict.fromkeys(("then", "else", "minContains", "maxContains"), _told_elsewhere),
}
