"""Small values that are valid under a schema, found by trying.

Of each part of the schema a few values are kept, one for each way in which the schemas that speak of it can hold or
not. What is around it is put together of those, and judged. So what is found is valid; that nothing is found proves
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import chain, combinations, islice, product
from math import ceil, floor
from typing import Any

from .document import Document, Node, schemas_in
from .facts import parts
from .formats import SHORT
from .numbers import common, exact
from .texts import texts
from .validate import Validator

KEPT = 12  # values of a part
TRIED = 300  # values of a part that are judged
FEW = 4  # values of an item or a member that are put together with others
MANY = 10  # steps of which each pair is put together
NAMES = 16  # of members that may be left out
MOST = 20_000  # judgements
LARGEST = 100  # values in a value
DEEPEST = 12  # parts within parts
IN_PLACE = (
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
)  # hold schemas of the same value
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def plainly(value: Any) -> str:
    """A value as compact JSON, its numbers without exponents and without zeros at their ends."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{plainly(key)}:{plainly(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(plainly, value)) + "]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    return json.dumps(value, ensure_ascii=False)


def examples(document: Document, judge: Validator) -> list[str]:
    """A few valid values as JSON; none where none was found."""
    for kept in (1, KEPT):
        found = _Examples(document, judge, kept).of([document.root])
        if valid := [plainly(value) for value in found if judge.valid(document.root, value)]:
            return valid
    return []


class _Examples:
    """The search in one document."""

    def __init__(self, document: Document, judge: Validator, kept: int) -> None:
        self._document, self._judge = document, judge
        self._kept = kept  # values of a part; of one that holds, no other is looked for
        self._left = MOST
        self._known: dict[tuple[int, ...], list[Any]] = {}
        self._depth = 0

    def of(self, nodes: Sequence[Node]) -> list[Any]:
        """Values of which these schemas speak, those first under which most of them hold."""
        key = tuple(sorted({id(node) for node in nodes}))
        if key not in self._known:
            self._known[key] = []  # while it is looked for: no value is within itself
            self._depth += 1
            self._left -= len(nodes)
            if self._depth <= DEEPEST and self._left > 0:
                self._known[key] = self._kinds(nodes)
            self._depth -= 1
        return self._known[key]

    def _kinds(self, nodes: Sequence[Node]) -> list[Any]:
        spoken = self._spoken(nodes)
        kept: dict[tuple[bool, ...], list[Any]] = {}
        for value in islice(filter(_small, self._tried(nodes, spoken)), TRIED):
            sign = tuple(self._judge.valid(each, value) for each in (*nodes, *spoken))
            alike = kept.setdefault(sign, [])
            if len(alike) < KEPT and value not in alike:
                alike.append(value)
            self._left -= len(sign)
            if self._left < 0 or (self._kept == 1 and all(sign[: len(nodes)])):
                break
        signs = sorted(kept, key=lambda sign: sign[: len(nodes)].count(False))
        found = [value for at in range(KEPT) for sign in signs for value in kept[sign][at : at + 1]]
        return found[: self._kept]

    def _spoken(self, nodes: Iterable[Node]) -> list[dict[str, Any]]:
        """The schemas that may speak of a value: these, and what they lead to in place."""
        found: dict[int, dict[str, Any]] = {}
        left = [*nodes]
        while left:
            node = left.pop(0)
            if isinstance(node, dict) and id(node) not in found:
                found[id(node)] = node
                left += [self._document.target(node)] if "$ref" in node else []
                left += chain.from_iterable(schemas_in(name, node[name]) for name in IN_PLACE if name in node)
        return [*found.values()]

    def _must(self, nodes: Iterable[Node]) -> list[dict[str, Any]]:
        """The schemas that hold wherever these do."""
        return [part for node in nodes for part in parts(self._document, node) if isinstance(part, dict)]

    def _tried(self, nodes: Sequence[Node], spoken: list[dict[str, Any]]) -> Iterator[Any]:
        for node in spoken:
            yield from node.get("enum", ())
            if "const" in node:
                yield node["const"]
        named = {each for node in spoken for each in _listed(node.get("type", ()))}
        must = self._must(nodes)
        asked = {key for node in spoken for key in node}
        if not named or named & {"object"}:
            yield from islice(self._objects(must, spoken), TRIED // 2 if named == {"object"} else TRIED // 6)
        if not named or named & {"array"}:
            yield from islice(self._arrays(must, spoken), TRIED // 2 if named == {"array"} else TRIED // 6)
        yield from (None, True, False)
        if not named or named & {"number", "integer"}:
            yield from _numbers(must, spoken)
        if not named or named & {"string"} or asked & {"pattern", "format"}:
            yield from self._texts(spoken)

    def _texts(self, spoken: Iterable[dict[str, Any]]) -> Iterator[str]:
        spoken = [*spoken]
        yield from (SHORT[node["format"]] for node in spoken if node.get("format") in SHORT)
        patterns = [node["pattern"] for node in spoken if "pattern" in node]
        names = ("minLength", "maxLength")
        yield from texts(
            patterns, [node[name] - (name == names[0]) for name in names for node in spoken if name in node]
        )

    def _arrays(self, must: list[dict[str, Any]], spoken: list[dict[str, Any]]) -> Iterator[list[Any]]:
        least = int(max((node.get("minItems", 0) for node in must), default=0))
        named = {int(node[name]) for node in spoken for name in ("minItems", "minContains") if name in node}
        for size in sorted({least, least + 1, least + 2, *named}):
            places = [self._item(spoken, at) for at in range(min(size, DEEPEST))]
            if not all(places):
                return
            each = [place[:FEW] for place in (places if size < 4 else places[-1:])]
            for chosen in product(*reversed(each)):
                yield [*(place[0] for place in places[: size - len(chosen)]), *reversed(chosen)]
            yield [place[at % len(place)] for at, place in enumerate(places)]

    def _item(self, spoken: Iterable[dict[str, Any]], at: int) -> list[Any]:
        """Values of the item at a place."""
        found: list[Node] = []
        for node in spoken:
            first = node.get("prefixItems", ())
            found += [first[at]] if at < len(first) else [node["items"]] if "items" in node else []
            found += [node["contains"]] if "contains" in node else []
        return self.of(found or [True])

    def _objects(self, must: list[dict[str, Any]], spoken: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        always = [name for node in must for name in node.get("required", ())]
        least = int(max((node.get("minProperties", 0) for node in must), default=0))
        order = [name for node in spoken for name in node.get("properties", ())]
        named = [name for node in spoken for name in node.get("required", ())] + order
        free = max(least - len({*always}), 0)
        others = [name for name in dict.fromkeys([*named, *self._names(spoken, free)]) if name not in always]
        others = sorted(others, key=lambda name: self._broken(must, spoken, name))[: NAMES + free]
        branches = [node["required"] for node in spoken if "required" in node]
        pairs = sorted(combinations(range(len(others)), 2), key=max)
        extra = [(), others[:free], *branches, *((name,) for name in others)]
        extra += [(others[one], others[two]) for one, two in pairs]
        extra += [dict.fromkeys([name, *others[:free]]) for name in others[free:]] if free > 1 else []
        for names in dict.fromkeys(map(tuple, extra)):
            chosen = dict.fromkeys([*always, *names])
            keys = sorted(chosen, key=lambda key: order.index(key) if key in order else len(order))
            yield from self._filled(spoken, keys, {*names})

    def _broken(self, must: list[dict[str, Any]], spoken: list[dict[str, Any]], name: str) -> int:
        """How many of the schemas that must hold do not, where a member of this name stands alone."""
        values = self._member(spoken, name)
        self._left -= len(must) * len(values)
        broken = (sum(not self._judge.valid(node, {name: value}) for node in must) for value in values)
        return min(broken, default=len(must))

    def _filled(self, spoken: list[dict[str, Any]], keys: list[str], free: set[str]) -> Iterator[dict[str, Any]]:
        """Objects with these keys: with the first values of all, then other ones of some."""
        options = [self._member(spoken, key)[: FEW if len(keys) > 1 else KEPT] for key in keys]
        if not all(options):
            return
        first = [each[0] for each in options]
        yield dict(zip(keys, first, strict=True))
        varied = [at for at, key in enumerate(keys) if key in free or len(keys) < 3][:2]
        for values in islice(product(*(options[at] for at in varied)), 1, None):
            found = dict(zip(keys, first, strict=True))
            yield found | {keys[at]: value for at, value in zip(varied, values, strict=True)}

    def _member(self, spoken: Iterable[dict[str, Any]], key: str) -> list[Any]:
        """Values of the member of a name."""
        found: list[Node] = []
        for node in spoken:
            said = [node["properties"][key]] if key in node.get("properties", ()) else []
            said += [
                below
                for pattern, below in node.get("patternProperties", {}).items()
                if self._judge.valid({"pattern": pattern}, key)
            ]
            found += (
                said or [node[name] for name in ("additionalProperties", "unevaluatedProperties") if name in node][:1]
            )
        return self.of([each for each in found if each is not True] or [True])

    def _names(self, spoken: Iterable[dict[str, Any]], lengths: int) -> list[str]:
        """Names of members, one for each way in which patterns match them, and of so many lengths."""
        patterns = [pattern for node in spoken for pattern in node.get("patternProperties", ())]
        said = self._spoken(node["propertyNames"] for node in spoken if "propertyNames" in node)
        listed = [
            name for node in said for name in (*node.get("enum", ()), *([node["const"]] if "const" in node else ()))
        ]
        more = ({"maxLength": length} for length in range(lengths + FEW if lengths > 1 else 0))
        every = [*self._texts([*said, *({"pattern": pattern} for pattern in patterns), *more])]
        every.sort(key=lambda name: -sum(self._judge.valid(node, name) for node in said))
        return [*(name for name in listed if isinstance(name, str)), *every, "a", "b", "c"]


def _small(value: Any) -> bool:
    """Whether there are not too many values in a value."""
    left, count = [value], 0
    while left and count < LARGEST:
        value = left.pop()
        count += 1
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not left


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _numbers(must: Iterable[dict[str, Any]], spoken: Iterable[dict[str, Any]]) -> Iterator[int | float]:
    """Multiples of steps at the bounds, of all that must be and of some together; and what stands right beside."""
    always, given = ([*dict.fromkeys(_steps(nodes))] for nodes in (must, spoken))
    bounds = [*dict.fromkeys([Fraction(0), *(exact(node[name]) for name in BOUNDS for node in spoken if name in node)])]
    some = chain([[Fraction(1)], always, given], combinations(given, 1), combinations(given[:MANY], 2))
    some = chain(some, *(combinations(given[:FEW], size) for size in range(3, FEW + 1)))
    steps = dict.fromkeys(common(each) for each in some if each)
    found: dict[Fraction, None] = {}
    for step, bound in product(steps, bounds):
        near = (ceil(bound / step), floor(bound / step))
        found |= dict.fromkeys(step * (at + more) for at in near for more in (0, 1, -1))
        found |= dict.fromkeys((bound, bound + Fraction(1, 2), bound - Fraction(1, 2)))
    for number in found:
        yield int(number) if number.denominator == 1 else float(number)


def _steps(nodes: Iterable[dict[str, Any]]) -> Iterator[Fraction]:
    return (exact(node["multipleOf"]) for node in nodes if "multipleOf" in node)
