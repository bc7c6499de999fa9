"""Values as their annotations say: what a caller hands over is checked, and made what it means, in this one place.

A dataclass whose metaclass is `Checked` needs no code of its own for kinds of values, only for their ranges: numbers
of numpy and torch become Python's, whole floats become whole numbers where such are asked for, lists become tuples,
and everything else that its annotation does not allow is one typed error. `checked` does the same for a function.
"""

from __future__ import annotations

import inspect
import math
import reprlib
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache, partial, wraps
from numbers import Real
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from .aliases import meant, ours
from .annotations import Unbounded, is_enum, is_union, words
from .errors import InvalidRequest, closest

PLAIN = frozenset({int, float, bool, str, tuple, type(None)})  # what is no array, by its type
MOST = 2**63 - 1  # whole numbers up to here are what torch and numpy hold

P = ParamSpec("P")
T = TypeVar("T")


class _Wrong(Exception):
    """The value is not of this kind."""


class Checked(ABCMeta):
    """Makes instances of checked values, whoever makes them and however. Raises InvalidRequest."""

    def __call__(cls, *given: Any, **named: Any) -> Any:
        """The instance, its values as the annotations of the dataclass say."""
        if not is_dataclass(cls):
            return super().__call__(*given, **named)
        owner = getattr(cls, "name", "")
        of = f" of {owner!r}" if isinstance(owner, str) and owner else ""
        kinds = settings_of(cls)
        if len(given) > len(kinds):
            raise InvalidRequest(
                f"there are no {len(given)} settings{of}", hint=f"its settings: {', '.join(kinds) or 'none'}"
            )
        values = dict(zip(kinds, given, strict=False))
        if twice := next((name for name in named if name in values), None):
            raise InvalidRequest(f"setting {twice!r}{of} is given twice", hint="give it once")
        values |= named
        if unknown := next((name for name in values if name not in kinds), None):
            raise InvalidRequest(f"there is no setting {unknown!r}{of}", hint=closest(unknown, kinds))
        if missing := next((name for name in needed_by(cls) if name not in values), None):
            raise InvalidRequest(f"setting {missing!r}{of} is missing", hint=f"{missing} is {words(kinds[missing])}")
        return super().__call__(**{name: fitting(value, kinds[name], name + of) for name, value in values.items()})


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """The function with its arguments as its annotations say. Raises InvalidRequest, also for a name it lacks."""
    known = inspect.signature(function).parameters
    hints = cache(partial(get_type_hints, function, include_extras=True))  # later: they may name what is not there yet

    @wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> T:
        kinds = hints()
        options = ours(named)
        if unknown := next((name for name in options if name not in known), None):
            raise InvalidRequest(f"there is no option {unknown!r}", hint=meant(unknown, known))
        first = dict(zip(known, given, strict=False))
        both: dict[str, Any] = first | options
        fit = {name: fitting(value, kinds[name], name) if name in kinds else value for name, value in both.items()}
        rest = given[len(first) :]  # more than it takes: Python says so
        return function(*(fit[name] for name in first), *rest, **{name: fit[name] for name in options})  # type: ignore[arg-type]

    return call


@cache
def settings_of(owner: type) -> dict[str, Any]:
    """The fields that a dataclass is made of -> what may stand in each, in order."""
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in fields(owner) if field.init}


@cache
def needed_by(owner: type) -> tuple[str, ...]:
    """Those of them that have no default."""
    bare = (field for field in fields(owner) if field.default is field.default_factory is MISSING)
    return tuple(field.name for field in bare if field.init)


def fitting(value: Any, kind: Any, name: str) -> Any:
    """The value as `kind`, an annotation, takes it. Raises InvalidRequest, with the name, where it does not."""
    try:
        return _fitter(kind)(value)
    except _Wrong:
        hint = f"{name.partition(' of ')[0]} is {words(kind)}"
        raise InvalidRequest(f"{name} is {shown(value)}, a value of the wrong kind", hint=hint) from None


def token_ids(value: Any) -> list[int]:
    """Token ids of whatever holds them in one row: a sequence, an array, a tensor. Raises InvalidRequest."""
    return list(fitting(value, Sequence[int], "the prompt"))


def plain(value: Any) -> Any:
    """An array or tensor of numpy, torch or another library as Python's numbers, in lists; all else as it is."""
    if isinstance(value, type) or not (hasattr(value, "ndim") and hasattr(value, "tolist")):
        return value
    try:
        return value.tolist()
    except Exception as error:  # of a device without data, of a form without rows: each library has its own
        raise InvalidRequest(f"{shown(value)} holds no numbers to read", hint="give a list") from error


def shown(value: Any) -> str:
    """A value in a message: one short line, whatever it is."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # a number of many digits, or an object of another library that cannot be shown
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60


Fitter = Callable[[Any], Any]


@cache
def _fitter(kind: Any) -> Fitter:
    """What takes a value as a kind has it, or raises _Wrong: an annotation is taken apart once."""
    if kind is Any:
        return lambda value: value
    if is_union(kind):
        return partial(_fit_first, [_fitter(each) for each in get_args(kind)])
    made = _plain_fitter(kind)
    return lambda value: made(value if type(value) in PLAIN else plain(value))


def _plain_fitter(kind: Any) -> Fitter:
    """The same, of values that are no arrays."""
    if kind == Unbounded:
        return partial(_number, unbounded=True)
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return partial(_one_of, inside)
    if is_enum(kind):
        return partial(_member, kind)
    if origin is tuple and inside[-1] is not ...:
        return partial(_fit_each, [_fitter(each) for each in inside])
    if origin is not None and origin is not list and issubclass(origin, Iterable):  # a list may be shared: it stays
        if issubclass(origin, Mapping):
            return partial(_fit_mapping, *map(_fitter, inside))
        return partial(_fit_several, _fitter(inside[0]), whole=inside[0] is int)
    if kind is int:
        return _whole
    if kind is float:
        return _number
    return partial(_instance, origin or kind)


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, str) and not _writable(value)):
        raise _Wrong
    return value


def _fit_first(fitters: Sequence[Fitter], value: Any) -> Any:
    """As the first of several kinds that takes it."""
    for each in fitters:
        try:
            return each(value)
        except _Wrong:
            continue
    raise _Wrong


def _one_of(values: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, str | int) and value in values:
        return value
    raise _Wrong


def _fit_several(fit: Fitter, value: Any, *, whole: bool = False) -> tuple[Any, ...]:
    """`whole`: each is to be a whole number."""
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise _Wrong
    several = tuple(value)
    if whole and set(map(type, several)) <= {int} and max(map(abs, several), default=0) <= MOST:
        return several  # a long prompt need not be looked at one by one
    return tuple(map(fit, several))


def _fit_each(fitters: Sequence[Fitter], value: Any) -> tuple[Any, ...]:
    """As many values as kinds, each of its own."""
    several = _fit_several(lambda each: each, value)
    if len(several) != len(fitters):
        raise _Wrong
    return tuple(fit(each) for fit, each in zip(fitters, several, strict=True))


def _member(kind: type[Enum], value: Any) -> Enum:
    """A member of an enumeration, given as such or by its value."""
    try:
        return kind(value)
    except ValueError:
        raise _Wrong from None


def _fit_mapping(key: Fitter, fit: Fitter, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong
    return {key(name): fit(each) for name, each in value.items()}


def _writable(text: str) -> bool:
    """Whether it can be written as UTF-8: half a character, as of a name of bytes, cannot."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number) or abs(int(number)) > MOST:
        raise _Wrong
    return int(number)


def _number(value: Any, *, unbounded: bool = False) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):  # a fraction stays what it is
        raise _Wrong
    try:
        fine = math.isfinite(value) or (unbounded and not math.isnan(value))
    except OverflowError:  # a whole number beyond every float
        raise _Wrong from None
    if not fine:
        raise _Wrong
    return value


def check_text(text: str) -> None:
    """Raise InvalidRequest for a text with half a surrogate pair, which no tokenizer reads."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the text holds {text[error.start]!r} at {error.start}, which is half a character",
            hint="decode it as UTF-8 with errors='replace'",
        ) from error
