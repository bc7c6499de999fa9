"""What a family of methods says of itself. Each has a folder with a `family.py`, which holds its `FAMILY`.

A family is one way to decode: draft and verify, fill masks, route, search. Its methods are dataclasses of parts
(`Method`); the text form of a method, the check of a request, the command line and the fuzz ask the family, and know
none by name. So a new family is one folder: contract.py, loop.py, family.py and its parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Generic, TypeVar

from .catalogue import FAMILIES
from .errors import InvalidRequest, Unsupported
from .loop import Method
from .models.contract import Model, masking_of
from .steer.contract import Steer
from .steer.pipeline import Pipeline

Own = TypeVar("Own", bound=Method)  # the methods of a family


@dataclass(frozen=True, slots=True)
class Drawn:
    """Of which kinds the parts of a drawn method are."""

    kinds: tuple[str, ...]  # one part of each
    more: tuple[str, ...] = ()  # and of some of these
    counts: tuple[int, ...] = (0,)  # as many as one of these says


class Family(ABC, Generic[Own]):
    """How the methods of a family are made of parts, for which models they are, and what is told of them."""

    name: ClassVar[str]  # as catalogue entries name it
    kinds: ClassVar[tuple[str, ...]]  # of its parts, the principal one first
    about: ClassVar[str]  # what it is for, in one line
    method: type[Own]
    bare: ClassVar[bool] = False  # whether no part at all makes a method of it: plain decoding
    model: ClassVar[str] = "zoo/causal"  # to try it with
    masks: ClassVar[bool] = False  # whether its models fill masks; else they continue text
    like_plain: ClassVar[bool] = True  # whether guarantees tell how its tokens relate to those of plain decoding
    approximate: ClassVar[str] = ""  # what an approximate guarantee means where that is something else
    default: ClassVar[str] = ""  # the text of the method where none is named, for most of its models
    draws: ClassVar[Sequence[Drawn]] = ()  # what the fuzz draws, each as often as it stands here

    @abstractmethod
    def assemble(self, text: str, chosen: Mapping[str, Any], steers: tuple[Steer, ...]) -> Own:
        """The method of parts by kind, which `text` names; what is not named is usual. Raises InvalidRequest."""

    @abstractmethod
    def text(self, method: Own) -> str:
        """The text form of a method's parts, what is usual left out; without the steers."""

    @abstractmethod
    def check(self, method: Own, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest, before any work, where a method cannot be served as it is promised.

        `pipeline` holds the method's steers as well. The model is one that fills masks where `masks` says so, else one
        that continues text.
        """

    def complete(self, method: Own, model: Model) -> Own:
        """The method with what it leaves to the model filled in."""
        return method

    def usual(self, model: Model) -> str | None:
        """The text of the method for a model where none is named; None where another family has it."""
        fits = (masking_of(model) is not None) is self.masks
        return self.default if fits and self.default else None


def refuse_aided(family: Family[Own], method: Own, pipeline: Pipeline) -> None:
    """Raise Unsupported where a steer looks beyond logits: for the `check` of families that show it nothing more."""
    if pipeline.aided:
        aided = next(step for step in pipeline.steps if step.aided)
        raise Unsupported(
            f"{aided.name} looks inside of the model, at other readings or back at its choices, which "
            f"{family.text(method)!r} has not",
            hint="leave it out; 'plain' and methods that draft have it",
        )


def only(chosen: Mapping[str, Any], kind: str) -> Any:
    """The part of a method that has but one. Raises InvalidRequest where there are others."""
    if len(chosen) > 1:
        raise InvalidRequest(f"the {kind} {chosen[kind].name!r} decodes by itself", hint="leave out the rest")
    return chosen[kind]


@cache
def families() -> tuple[Family[Any], ...]:
    """All families."""
    return tuple(import_module(f"{__package__}.{folder}.family").FAMILY for folder in FAMILIES)


@cache
def family_of(method: type[Method]) -> Family[Any]:
    """The family of methods of a type."""
    return next(family for family in families() if issubclass(method, family.method))
