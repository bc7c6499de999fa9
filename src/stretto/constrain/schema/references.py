"""Where the references of a schema lead: identifiers, anchors, pointers, in it and in the standard's own schemas.

Nothing is ever loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from ...errors import InvalidRequest, Unsupported

DRAFTS = {  # by what $schema says; 2019 and 2020 by their years
    "json-schema.org/draft-04/schema": 4,
    "json-schema.org/draft-06/schema": 6,
    "json-schema.org/draft-07/schema": 7,
    "json-schema.org/draft/2019-09/schema": 2019,
    "json-schema.org/draft/2020-12/schema": 2020,
    "json-schema.org/schema": 2020,
}
UNSAID = 0  # the draft of a schema that names none: as 2020, and the older forms are read as well
HOME = "https://schema.invalid/"  # the address of a schema that has none
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
HOLDERS = (
    *(*MAPS, "not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "items", "allOf"),
    *("unevaluatedItems", "unevaluatedProperties", "additionalItems", "anyOf", "oneOf", "prefixItems"),
)
Way = tuple[str, ...]  # keys and indices from the root of a document


@dataclass(frozen=True, slots=True)
class Place:
    """A subschema of a document."""

    document: str  # its address
    way: Way
    base: str  # what references in it are relative to
    draft: int

    @property
    def pointer(self) -> str:
        """As it is told to people: a fragment of the caller's schema, or a whole address."""
        fragment = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.way)
        return ("" if self.document == HOME else self.document) + "#" + fragment


def draft_of(schema: Any, pointer: str, otherwise: int) -> int:
    """The draft that a schema says it is of. Raises Unsupported where none of these."""
    if not isinstance(schema, dict) or "$schema" not in schema:
        return otherwise
    said = schema["$schema"]
    bare = str(said).removesuffix("#").split("://")[-1].removesuffix("/")
    if bare not in DRAFTS:
        raise Unsupported(
            f"{pointer}/$schema: {said!r} is no draft from 4 to 2020-12", hint="name one, or leave it out"
        )
    return DRAFTS[bare]


class References:
    """All places of a schema that a reference may name."""

    def __init__(self, schema: Any) -> None:
        self._documents: dict[str, Any] = {}
        self._named: dict[str, Place] = {}  # by address, with an anchor behind # where there is one
        self._dynamic: dict[str, list[Place]] = {}
        self.root = self._enter(HOME, schema)

    def value(self, place: Place) -> Any:
        """What stands at a place."""
        found = self._documents[place.document]
        for step in place.way:
            found = found[_index(step)] if isinstance(found, list) else found[step]
        return found

    def below(self, place: Place, *steps: str) -> Place:
        """A place within another."""
        for step in steps:
            place = Place(place.document, (*place.way, step), place.base, place.draft)
            value = self.value(place)
            place = self._based(place, value)
        return place

    def follow(self, reference: str, place: Place, keyword: str) -> Place:
        """Where a reference at a place leads. Raises InvalidRequest where nowhere, Unsupported where elsewhere."""
        target = _joined(place.base, reference)
        address, fragment = urldefrag(target)
        said = f"{place.pointer}/{keyword}"
        if address not in self._named and not self._load(address):
            raise Unsupported(
                f"{said}: {reference!r} is outside of the schema", hint="put what it names into $defs, with its $id"
            )
        root = self._named[address]
        if not fragment:
            return root
        if not fragment.startswith("/"):
            found = self._named.get(target)
            if found is None:
                raise InvalidRequest(f"{said}: nothing is named {reference!r}", hint="mend it, or give an $anchor")
            return found
        steps = [unquote(step).replace("~1", "/").replace("~0", "~") for step in fragment[1:].split("/")]
        try:
            return self.below(root, *steps)
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidRequest(f"{said}: {reference!r} leads nowhere", hint="mend the pointer") from None

    def dynamic(self, reference: str, place: Place) -> Place:
        """The same for $dynamicRef, where it can lead to one place alone. Raises Unsupported where not."""
        found = self.follow(reference, place, "$dynamicRef")
        anchors = self._dynamic.get(urldefrag(reference)[1], [])
        if found in anchors and len(anchors) > 1:
            raise Unsupported(
                f"{place.pointer}/$dynamicRef: what it leads to depends on where it is come from", hint="use $ref"
            )
        return found

    def _enter(self, address: str, schema: Any, draft: int = UNSAID) -> Place:
        """A document, and all identifiers and anchors in it."""
        self._documents[address] = schema
        root = self._based(Place(address, (), address, draft_of(schema, "#", draft)), schema)
        self._named[address] = root
        for place in self._walk(root):
            value = self.value(place)
            if not isinstance(value, dict):
                continue
            if _identifier(value, place.draft):
                self._named.setdefault(urldefrag(place.base)[0], place)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(value.get(keyword), str):
                    self._named.setdefault(f"{place.base}#{value[keyword]}", place)
            if isinstance(value.get("$dynamicAnchor"), str):
                self._dynamic.setdefault(value["$dynamicAnchor"], []).append(place)
            name = value.get("$id", value.get("id"))
            if isinstance(name, str) and name.startswith("#") and place.draft < 2019:
                self._named.setdefault(place.base + name, place)
        return root

    def _walk(self, place: Place) -> Iterator[Place]:
        """The place and all subschemas below it."""
        left = [place]
        while left:
            place = left.pop()
            yield place
            value = self.value(place)
            if not isinstance(value, dict) or ("$ref" in value and 4 <= place.draft <= 7 and place.way):
                continue
            for key, below in value.items():
                if key not in HOLDERS:
                    continue
                if key in MAPS and isinstance(below, dict):
                    left += [self.below(place, key, name) for name, each in below.items() if isinstance(each, dict)]
                elif isinstance(below, list):
                    left += [self.below(place, key, str(at)) for at, each in enumerate(below) if isinstance(each, dict)]
                elif isinstance(below, dict):
                    left.append(self.below(place, key))

    def _based(self, place: Place, value: Any) -> Place:
        """The place with the base and draft that its own identifier gives it."""
        name = _identifier(value, place.draft)
        if not name:
            return place
        draft = draft_of(value, place.pointer, place.draft)
        return Place(place.document, place.way, _joined(place.base, name).removesuffix("#"), draft)

    def _load(self, address: str) -> bool:
        """Take in one of the standard's own schemas; False where it is none."""
        from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

        found = next((REGISTRY.get(each) for each in (address, address + "#") if REGISTRY.get(each)), None)
        if found is None:
            return False
        self._named[address] = self._enter(address, found.contents)
        return True


def _joined(base: str, reference: str) -> str:
    """A reference made whole; addresses such as urn:… have no parts that it could replace."""
    return urldefrag(base)[0] + reference if reference.startswith("#") else urljoin(base, reference)


def _index(step: str) -> int:
    """A step of a pointer into a list. Raises ValueError where it is none."""
    if not step.isdecimal():
        raise ValueError(step)
    return int(step)


def _identifier(value: Any, draft: int) -> str:
    """The address that a schema gives itself; none where it only names an anchor, or where $ref hides it."""
    if not isinstance(value, dict) or ("$ref" in value and 4 <= draft <= 7):
        return ""
    name = value.get("$id", value.get("id") if draft in (4, UNSAID) else None)
    return name if isinstance(name, str) and not name.startswith("#") else ""
