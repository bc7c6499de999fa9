"""What a constraint must do: say at every point of an answer which tokens keep it valid.

Settings are frozen dataclasses (`Constraint`); where one text stands is a `State` that they open. The engine asks it
once at every node at which a token is chosen, drafted ones too, masks what it excludes, lets the answer end where it
is complete, and moves it along paths and back. Whoever writes one cares for text alone: no end token ever reaches it.

>>> import numpy as np
>>> from dataclasses import dataclass
>>> class Falling(State):
...     def __init__(self, size, before=()):
...         self.size, self.before = size, list(before)
...     complete = property(lambda self: self.before[-1:] == [0])
...     def allowed(self):
...         return np.arange(self.size) < (self.before or [self.size])[-1]
...     def advance(self, token):
...         able = bool(self.allowed()[token])
...         self.before += [token] * able
...         return able
...     def rollback(self, count):
...         del self.before[len(self.before) - count :]
...     def fork(self):
...         return Falling(self.size, self.before)
>>> @dataclass(frozen=True)
... class Countdown(Constraint):
...     '''Each token is smaller than the one before.'''
...
...     name: ClassVar[str] = "countdown"
...
...     def open(self, tokens):
...         return Falling(len(tokens))
>>> state = Countdown().open(Tokens([b"0", b"1", b"2", b"3"]))
>>> state.advance(3), state.advance(3), state.allowed().tolist()
(True, False, [True, True, True, False])
>>> state.advance(1), list(state.forced()), state.complete
(True, [0], False)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..values import Checked
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .lexicon import Language

MOST_FORCED = 64  # tokens that are looked for at a time


@dataclass(slots=True, eq=False)
class Work:
    """What the judge of a text has done, where masks do not hold all: for the text, its copies and its drafts."""

    asked: int = 0  # how often it was asked, about a place or a token
    shut: int = 0  # tokens that it shut out


class State(ABC):
    """Where one text stands under a constraint; it begins with the answer, behind the prompt."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the text may end here."""

    @abstractmethod
    def allowed(self) -> NDArray[Any]:
        """The tokens that may follow: bool [V]. End tokens do not count: they follow where the text is complete."""

    @abstractmethod
    def advance(self, token: int) -> bool:
        """Take the next token. False, and nothing changes, where it may not follow."""

    @abstractmethod
    def rollback(self, count: int) -> None:
        """Take back the newest `count` tokens: all is as if they had never come. 0 takes back none."""

    @abstractmethod
    def fork(self) -> State:
        """A copy that goes on by itself."""

    def forced(self) -> Sequence[int]:
        """Tokens that must follow here, as far as they are known; none where there is a choice.

        Those of texts that must follow may be spelled otherwise: they are drafted, and verified like any draft.
        """
        found: list[int] = []
        while not self.complete and len(found) < MOST_FORCED:
            (able,) = self.allowed().nonzero()
            if len(able) != 1 or not self.advance(int(able[0])):
                break
            found.append(int(able[0]))
        self.rollback(len(found))
        return found

    def stuck(self) -> str:
        """Why nothing may follow, where the text cannot end either; "" where something may, or it can, or none knows.

        Drafts do not go there, and an answer that has fails with these words.
        """
        return ""

    def work(self) -> Work | None:
        """What a judge has done by now; one object for all copies. None: there is no judge."""
        return None

    # -- how texts end: what `Close` goes by; where a state does not know, ends are looked for (`ways.py`) ------

    def least(self) -> int | None:
        """The fewest tokens that complete the text from here; None: this state does not know."""
        return None

    def within(self, most: int) -> NDArray[Any] | None:
        """The tokens behind which `most` more, or fewer, complete the text: bool [V]; None: this state does not know.

        A state that knows `least` knows this.
        """
        return None

    def completes(self, way: Sequence[int]) -> bool:
        """Whether the text is complete behind these tokens, which may follow. The state is as before."""
        taken = 0
        while taken < len(way) and self.advance(way[taken]):
            taken += 1
        able = taken == len(way) and self.complete
        self.rollback(taken)
        return able

    def way(self) -> Sequence[int] | None:
        """Tokens that complete the text from here, as few as are known; None: this state does not know."""
        return None


class Constraint(metaclass=Checked):
    """Keeps an answer valid, token by token: a frozen dataclass of its own settings."""

    name: ClassVar[str]
    kind: ClassVar[str] = "constraint"

    @abstractmethod
    def open(self, tokens: Tokens) -> State:
        """The state before the first token of an answer. Raises InvalidRequest or Unsupported where it cannot serve.

        It is called for every row; what does not depend on the row is kept in `tokens.memory`.
        """

    def open_within(self, tokens: Tokens, room: int) -> State:
        """The same for a row that takes at most `room` tokens, an end token among them."""
        return self.open(tokens)

    def examples(self) -> Sequence[str]:
        """A few short valid texts, where it knows some: by these `Close` finds ends that no walk does."""
        return ()

    @property
    def language(self) -> Language | None:
        """The valid texts as a language, for canvases that are filled in any order; None: there is none."""
        return None
