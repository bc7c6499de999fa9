"""What a store is as a part: settings that say in what form the cache of a model keeps keys and values.

>>> from stretto.models.table import TableModel
>>> from stretto.engine import Engine
>>> model = stored(TableModel(3, lambda path: [0.0, 5.0, 1.0]), "int4-cache")
>>> Engine(model).generate([0], "lookup", max_new_tokens=2).tokens
[1, 1]
"""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from .. import catalogue
from ..errors import InvalidRequest, Unsupported, closest
from ..models.cache import Cache, KeyForm
from ..models.contract import Model, masking_of
from ..models.numbers import numbers_of
from ..parts import describe_part, kind_of, read_part
from ..values import Checked

if TYPE_CHECKING:
    from ..models.blocks import CacheShape

FAMILY = "memory"  # of the catalogue's entries


class Storing(metaclass=Checked):
    """A frozen dataclass of a store's settings.

    What a query reads of a token may depend on that token, on those before it and on how far behind the query it
    stands: never on the windows in which they were evaluated. Then drafts, batches and prompts that were read before
    change nothing but time, and what plain decoding with the store gives is what every method with it gives.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "store"

    @abstractmethod
    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        """An empty cache for keys and values of that shape."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that the laws try."""
        return (cls(),)


def read_store(text: str) -> Storing:
    """A store from its text form, or of the catalogue by its name. Raises UnknownName or InvalidRequest."""
    entry = catalogue.entries().get(text)
    named = entry.parts if entry is not None and entry.family == FAMILY else text
    if (kind := kind_of(named)) != Storing.kind:
        known = [each.name for each in catalogue.entries().values() if each.family == FAMILY]
        what = f"{text!r} is a {kind}, not a store" if kind else f"there is no store {text!r}"
        raise InvalidRequest(what, hint=closest(text, known, f"stores: {', '.join(sorted(known))}"))
    found: Storing = read_part(named)
    return found


def stored(model: Model, store: str | Storing | None) -> Model:
    """The same model with caches of that form; None: as it is.

    Raises Unsupported for a model that keeps no keys and values, that fills masks, or that has a store.
    """
    if store is None:
        return model
    part = read_store(store) if isinstance(store, str) else store
    usual, text = model.new_cache(1, 1), describe_part(part)
    if not isinstance(usual, Cache):
        raise Unsupported(f"{model.name} keeps states, not keys and values", hint=f"leave out the store {text}")
    if masking_of(model) is not None:
        raise Unsupported(f"{model.name} fills masks: what it keeps changes", hint=f"leave out the store {text}")

    if not usual.direct:
        raise Unsupported(f"{model.name} has a store already", hint="give its store once")

    def new_cache(rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        inner = model.new_cache(1, 1, key_form)
        assert isinstance(inner, Cache)
        return part.cache(inner.shape, rows, slots, key_form)

    made = copy(model)
    vars(made).update(new_cache=new_cache, numbers=replace(numbers_of(model), store=f"the cache {text}"), store=part)
    return made
