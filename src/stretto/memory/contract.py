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
from ..models.contract import NOTHING, Ability, Model, masking_of
from ..models.encoded import reader_of
from ..models.numbers import numbers_of
from ..models.window import Window
from ..parts import describe_part, kind_of, read_part
from ..values import Checked
from .pieces import in_pieces

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.place import Place

UNTOLD = Ability.LAYERS | Ability.ATTENTION | Ability.GAZES | Ability.BRANCHES | Ability.RAW_KEYS  # where slots are
# not those of the text, or not alike in all layers

FAMILY = "memory"  # of the catalogue's entries


class Storing(metaclass=Checked):
    """A frozen dataclass of a store's settings.

    What a query reads of a token may depend on all tokens before the query and on how far behind it they stand: never
    on the windows in which they were evaluated. Then drafts, batches and prompts that were read before change nothing
    but time, and what plain decoding with the store gives is what every method with it gives.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "store"
    ages: ClassVar[bool] = False  # whether what is held of a token changes after a while: its caches are `Ageing`
    forgets: ClassVar[bool] = False  # whether key heads then hold unlike tokens
    sparse: ClassVar[bool] = False  # whether queries read some of what is held

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

    Raises Unsupported for a model that keeps no keys and values, that fills masks, or that has a store; and, where the
    store forgets or reads sparsely, for one that sees the nearest tokens alone, or does not tell what its queries are.
    """
    if store is None:
        return model
    part = read_store(store) if isinstance(store, str) else store
    usual, text = model.new_cache(1, 1), describe_part(part)
    if not isinstance(usual, Cache):
        raise Unsupported(f"{model.name} keeps states, not keys and values", hint=f"leave out the store {text}")
    if reader_of(model) is not None:
        raise Unsupported(f"{model.name} keeps a source as well", hint=f"leave out the store {text}")
    if reader_of(model) is not None:
        raise Unsupported(f"{model.name} keeps a source as well", hint=f"leave out the store {text}")
    if masking_of(model) is not None:
        raise Unsupported(f"{model.name} fills masks: what it keeps changes", hint=f"leave out the store {text}")
    if getattr(model, "store", None) is not None:
        raise Unsupported(f"{model.name} has a store already", hint="give its store once")

    def new_cache(rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        inner = model.new_cache(1, 1, key_form)
        assert isinstance(inner, Cache)
        return part.cache(inner.shape, rows, slots, key_form)

    made = copy(model)
    vars(made).update(new_cache=new_cache, numbers=replace(numbers_of(model), store=f"the cache {text}"), store=part)
    if part.ages or part.sparse:
        vars(made).update(abilities=model.abilities & ~UNTOLD)
    if part.ages:
        vars(made).update(evaluate=in_pieces(made.evaluate, 1 + new_cache(1, 1).span), forgets=True)
    if part.forgets or part.sparse:
        _try(made, usual.shape)
    return made


def _try(model: Model, shape: CacheShape) -> None:
    """Read a token near and far behind the start, and one of its own. Raises Unsupported for what cannot forget."""
    near, far = _Asked(shape), _Asked(shape)
    for position, cache in ((0, near), (model.max_positions - 1, far), (0, model.new_cache(1, 1))):
        model.evaluate(Window.chain([cache.open()], [[0]], [position], model.device), cache, NOTHING)
    if near.asked != far.asked:
        raise Unsupported(f"{model.name} has layers that see the nearest tokens alone", hint="use int8-cache, or none")


class _Asked(Cache):
    """Counts how often it is asked where tokens stand: layers that do not see far ask when that matters."""

    asked = 0

    def positions(self, place: Place) -> Tensor:
        self.asked += 1
        return super().positions(place)
