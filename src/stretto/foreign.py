"""What other libraries steer and stop with: transformers' logits processors and stopping criteria, or plain functions.

A processor is asked at every node, with the tokens of its own path: so it may look at them as it likes, and speculation
under it is plain decoding under it. What it may not do is keep a memory of its own calls, as these are other ones then:
drafted tokens are asked about and rejected, rows stand side by side. That is noticed, and refused. A criterion is asked
once for each committed token, in order, by a copy for each row: it may remember.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from .errors import InvalidRequest, Unsupported
from .object_state import state_of
from .row import Stopper
from .steer.contract import Stage, Steer
from .values import shown

if TYPE_CHECKING:
    from torch import Tensor

    from .steer.nodes import Nodes
    from .steer.path import Path

INSTEAD = {  # processors of transformers that remember -> what to use
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": "use the steer 'guide(scale)', which reads along",
    "SynthIDTextWatermarkLogitsProcessor": "leave it out: it marks a text by what it was asked before",
}


def processors(given: Iterable[Any]) -> list[Steer]:
    """Callables (input ids [1, L], scores [1, V]) -> scores [1, V] as steers, those of lists one by one.

    Raises InvalidRequest for what takes other arguments, Unsupported for what is known to remember.
    """
    found: list[Steer] = []
    for each in given:
        if isinstance(each, list):
            found += processors(each)
        elif _is_criterion(each):
            raise InvalidRequest(f"{named(each)} stops an answer and steers none", hint="give it as stopping=[…]")
        else:
            _require_two(each, "a steer, or a function of (input ids, scores)")
            if (name := _theirs(each, INSTEAD)) is not None:
                raise Unsupported(f"{name} remembers what it was asked", hint=INSTEAD[name])
            found.append(Processor(each))
    return found


def criteria(given: Iterable[Any]) -> tuple[Callable[..., Any], ...]:
    """Callables (input ids [1, L], scores) -> bool [1] that end an answer, those of lists one by one.

    Raises InvalidRequest for what takes other arguments, Unsupported for what looks at the clock.
    """
    found: list[Callable[..., Any]] = []
    for each in given:
        if isinstance(each, list):
            found += criteria(each)
        else:
            _require_two(each, "a function of (input ids, scores)")
            if _theirs(each, ("MaxTimeCriteria",)):
                raise Unsupported("MaxTimeCriteria looks at the clock", hint="use max_new_tokens, or stream and leave")
            found.append(each)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Processor(Steer):
    """A function of input ids and scores, asked at each node by itself. It works after the settings' own penalties."""

    name: ClassVar[str] = "processor"
    stage: ClassVar[Stage] = Stage.PENALTY

    call: Callable[..., Any]  # (input ids [1, L] int64, scores [1, V] float) -> scores [1, V]
    _settled: list[Any] = field(default_factory=list, init=False, repr=False)  # the copy that is asked, what it recalls

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        answers = [self._ask(path, line[None]) for path, line in zip(nodes.paths, logits, strict=True)]
        return torch.cat(answers) if answers else logits

    def _ask(self, path: Path, scores: Tensor) -> Tensor:
        """The scores [1, V] after a path."""
        ids = torch.tensor([[*path.history.tokens, *path.drafted]], device=scores.device)  # [1, L]
        if not self._settled:
            self._settled[:] = self._settle(ids, scores)
        call, before = self._settled
        found = _asked(call, ids, scores.clone())
        if state_of(call) != before:
            self._refuse()
        if not isinstance(found, torch.Tensor) or found.shape != scores.shape or bool(found.isnan().any()):
            gave = f"{tuple(found.shape)}" if isinstance(found, torch.Tensor) else shown(found)
            raise InvalidRequest(
                f"{named(self.call)} gives {gave} for scores {tuple(scores.shape)}", hint="return as many, all numbers"
            )
        return found.to(scores.dtype)

    def _settle(self, ids: Tensor, scores: Tensor) -> tuple[Any, Any]:
        """A copy that has prepared itself, as some do when first asked, and what it recalls ever after.

        What that is may not depend on the question: another copy is asked another one.
        """
        try:
            one, two = _copied(self.call), _copied(self.call)
        except Exception as error:  # each class may have its own reason
            raise Unsupported(
                f"{named(self.call)} cannot be copied: {type(error).__name__}", hint="give a plain function"
            ) from error
        before = state_of(one)
        _asked(one, ids, scores.clone())
        if one is not self.call:
            before = state_of(one)
            _asked(two, ids.repeat(1, 2), scores.flip(-1))
        if state_of(one) != before or state_of(two) != before:
            self._refuse()
        return one, before

    def _refuse(self) -> None:
        raise Unsupported(
            f"{named(self.call)} keeps a memory between calls, and drafts and batches call it at other times",
            hint="write it as a steer whose state follows the path: docs/write-a-steer.md",
        )


class Stopping:
    """Ends a row where a criterion says so, or the stopper beside them."""

    def __init__(self, prompt: Sequence[int], given: Sequence[Callable[..., Any]], beside: Stopper | None) -> None:
        self._tokens = list(prompt)
        self._criteria = deepcopy(list(given))
        self._beside = beside

    def push(self, token: int) -> bool:
        """Take the next committed token; True when the row ends with it. Every criterion is asked."""
        self._tokens.append(token)
        ids = torch.tensor([self._tokens])  # [1, L]
        ended = [self._judged(each, ids) for each in self._criteria]
        return (self._beside is not None and self._beside.push(token)) or any(ended)

    @staticmethod
    def _judged(criterion: Callable[..., Any], ids: Tensor) -> bool:
        found = _asked(criterion, ids, None)
        if not isinstance(found, bool) and not (isinstance(found, torch.Tensor) and found.numel() == 1):
            raise InvalidRequest(f"{named(criterion)} gives {shown(found)}", hint="return whether to stop, as bool [1]")
        return bool(found)


def named(call: Any) -> str:
    """How a callable is called in a message."""
    return str(getattr(call, "__name__", type(call).__name__))


def _copied(call: Any) -> Any:
    """A copy that remembers for itself; networks in it are shared."""
    shared = {id(each): each for each in getattr(call, "__dict__", {}).values() if isinstance(each, torch.nn.Module)}
    return deepcopy(call, shared)


def _asked(call: Callable[..., Any], ids: Tensor, scores: Tensor | None) -> Any:
    try:
        return call(ids, scores)
    except Exception as error:  # another's code may raise anything
        raise InvalidRequest(
            f"{named(call)} fails with {type(error).__name__}: {error}", hint="mend it, or leave it out"
        ) from error


def _require_two(call: Any, wanted: str) -> None:
    taken = not isinstance(call, type)
    try:
        signature(call).bind(None, None)
    except TypeError:
        taken = False
    except ValueError:  # some that are built in do not say
        pass
    if not taken:
        raise InvalidRequest(f"{shown(call)} is not {wanted}", hint="see docs/write-a-steer.md")


def _theirs(value: Any, names: Iterable[str]) -> str | None:
    """The name among these of transformers' class that a value is of; it has one only where that is imported."""
    module = sys.modules.get("transformers")
    found = (name for name in names if module is not None and isinstance(value, getattr(module, name, ())))
    return next(found, None)


def _is_criterion(value: Any) -> bool:
    return _theirs(value, ("StoppingCriteria",)) is not None
