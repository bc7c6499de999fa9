"""Answers that a monitor watches: it is asked where a name may stand, and says which names there are.

As published: the text is free until a monitor's mark, such as the dot behind an object; from there to the first byte
that no name is made of, only the names may come that the monitor knows of. It sees the bytes of the text, so that a
token which holds the mark and more is held to the same as the letters that it is made of.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from .contract import Constraint, State
from .tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

OF_NAMES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_" + bytes(range(128, 256)))


class Monitor(Constraint):
    """A constraint of which one question is asked: which names may follow here?"""

    mark: ClassVar[str] = "."  # behind it a name may stand; one byte, which is of no name

    def before(self) -> str:
        """The text that the answer goes on with; it may break off behind the mark, or in a name."""
        return ""

    @abstractmethod
    def names(self, text: str) -> Collection[str] | None:
        """The names that may follow a text which ends with the mark. None, and none: anything may.

        The text begins with what is `before` the answer. It is asked about drafts too, in no order, and about each text
        once.
        """

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)
        watch = tokens.memory.of(self, lambda: Watch(self, tokens))
        return Watched(watch, [watch.start])


class Place(NamedTuple):
    """Where a text stands."""

    text: bytes
    rest: frozenset[bytes] | None = None  # what is left of the names that may stand here; None: the text is free


class Watch:
    """What a monitor has said, and what the tokens of a model are to it."""

    def __init__(self, monitor: Monitor, tokens: Tokens) -> None:
        self.monitor, self.tokens, self.mark = monitor, tokens, ord(monitor.mark)
        self._asked: dict[bytes, frozenset[bytes] | None] = {}
        self._spelled: dict[bytes, bool] = {b"": True}
        self._free = np.array([bool(text) and self.mark not in text for text in self._texts])  # [V]
        self._ending = self._free & [text[:1] != b"" and text[0] not in OF_NAMES for text in self._texts]
        (self._marked,) = np.array([self.mark in text for text in self._texts]).nonzero()
        self.start = self._begun(monitor.before().encode())

    @property
    def _texts(self) -> list[bytes]:
        return [self.tokens.text_of(token) for token in range(len(self.tokens))]

    def _begun(self, before: bytes) -> Place:
        """Where an answer begins; free where what it goes on with is no beginning of a name that there is."""
        name = before[len(before.rstrip(bytes(OF_NAMES))) :]
        marked = before[: len(before) - len(name)]
        rest = self._after(marked) if marked.endswith(bytes([self.mark])) else None
        left = frozenset(each[len(name) :] for each in rest or () if each.startswith(name))
        return Place(before, frozenset(filter(self._spells, left)) or None)

    def read(self, place: Place, read: bytes) -> Place | None:
        """The place behind some bytes; None where they may not follow, or nothing is read."""
        text, rest = place
        for byte in read:
            letter = bytes([byte])
            if rest is not None and byte in OF_NAMES:
                rest = frozenset(name[1:] for name in rest if name.startswith(letter))
            elif rest is not None and b"" not in rest:
                return None
            else:
                rest = self._after(text + letter) if byte == self.mark else None
            text += letter
            if rest is not None and not rest:
                return None
        able = rest is None or any(map(self._spells, rest))
        return Place(text, rest) if read and able else None

    def allowed(self, place: Place) -> NDArray[Any]:
        """The tokens that may follow: bool [V]."""
        if place.rest is None:
            found = self._free.copy()
            asked: Sequence[int] = self._marked.tolist()
        else:
            found = self._ending.copy() if b"" in place.rest else np.zeros(len(self.tokens), bool)
            begun = {name[:size] for name in place.rest for size in range(1, len(name) + 1)}
            asked = [token for text in begun for token in self.tokens.texts.get(text, ())]
            asked += [token for name in place.rest if name for token in self.tokens.that_begin_with(name)]
            asked += self._marked.tolist() if b"" in place.rest else []
        for token in asked:
            found[token] = self.read(place, self.tokens.text_of(token)) is not None
        return found

    def _after(self, text: bytes) -> frozenset[bytes] | None:
        """The names that may follow the mark that a text ends with, those that tokens can spell."""
        if text not in self._asked:
            names = self.monitor.names(text.decode("utf-8", "replace"))
            able = frozenset(name for name in map(str.encode, names or ()) if name and self._spells(name))
            self._asked[text] = able or None
        return self._asked[text]

    def _spells(self, text: bytes) -> bool:
        """Whether tokens spell a text and nothing more."""
        if text not in self._spelled:
            sizes = range(1, len(text) + 1)
            self._spelled[text] = any(text[:size] in self.tokens.texts and self._spells(text[size:]) for size in sizes)
        return self._spelled[text]


class Watched(State):
    """A text that is watched."""

    def __init__(self, watch: Watch, path: Sequence[Place]) -> None:
        self.watch = watch
        self._path = [*path]  # behind each token, the first one before all

    @property
    def complete(self) -> bool:
        rest = self._path[-1].rest
        return rest is None or b"" in rest

    def allowed(self) -> NDArray[Any]:
        return self.watch.allowed(self._path[-1])

    def advance(self, token: int) -> bool:
        after = self.watch.read(self._path[-1], self.watch.tokens.text_of(token))
        self._path += [after] if after else []
        return after is not None

    def rollback(self, count: int) -> None:
        del self._path[len(self._path) - count :]

    def fork(self) -> Watched:
        return Watched(self.watch, self._path)
