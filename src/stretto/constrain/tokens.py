"""The tokens of a model as constraints see them: the bytes that each of them spells."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..errors import Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray


KEPT = 64  # settings of constraints for which what they have worked out is kept, those that were asked for last
Found = TypeVar("Found")


class Memory:
    """What constraints have worked out over the tokens of one model: of the newest settings, and of no setting."""

    def __init__(self) -> None:
        self._always: dict[Hashable, Any] = {}
        self._newest: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def once(self, key: Hashable, make: Callable[[], Found]) -> Found:
        """What depends on the tokens alone: made once."""
        if key not in self._always:
            self._always[key] = make()
        found: Found = self._always[key]
        return found

    def of(self, setting: Hashable, make: Callable[[], Found]) -> Found:
        """What depends on a setting: made once, and once more where `KEPT` others have been asked for since.

        >>> memory = Memory()
        >>> [memory.of("a", list) is memory.of("a", list), len(memory)]
        [True, 1]
        """
        with self._lock:
            if setting in self._newest:
                self._newest.move_to_end(setting)
                found: Found = self._newest[setting]
                return found
        found = make()
        with self._lock:
            self._newest[setting] = found
            while len(self._newest) > KEPT:
                self._newest.popitem(last=False)
        return found

    def __len__(self) -> int:
        """Settings of which something is kept."""
        return len(self._newest)


class Grid(NamedTuple):
    """The bytes of all tokens, one below the other."""

    rows: NDArray[np.uint8]  # [V, L], 0 beyond a token's end
    lengths: NDArray[np.int64]  # [V]; 0 for tokens that spell nothing


@dataclass(frozen=True, eq=False)
class Tokens:
    """What each token spells, where an answer may end, and what constraints have worked out about both.

    Answers are texts of bytes: a token may hold a part of a character.
    """

    pieces: Sequence[bytes | None]  # V; None for tokens that are no text: special ones, padding
    ends: frozenset[int] = frozenset()  # end tokens; they are no text
    encode: Callable[[str], list[int]] | None = None  # how the tokenizer writes a text
    memory: Memory = field(default_factory=Memory)  # of constraints

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def texts(self) -> dict[bytes, list[int]]:
        """The tokens that spell each text."""
        found: dict[bytes, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            if piece and token not in self.ends:
                found.setdefault(piece, []).append(token)
        return found

    @cached_property
    def _sorted(self) -> list[bytes]:
        return sorted(self.texts)

    def that_begin_with(self, text: bytes) -> list[int]:
        """The tokens that spell a text and more behind it."""
        at, found = bisect_right(self._sorted, text), []
        while at < len(self._sorted) and self._sorted[at].startswith(text):
            found += self.texts[self._sorted[at]]
            at += 1
        return found

    @cached_property
    def spells_all(self) -> bool:
        """Whether every single byte is a token, so that any text can be written."""
        return all(bytes([byte]) in self.texts for byte in range(256))

    @cached_property
    def grid(self) -> Grid:
        """The bytes as one array."""
        pieces = [b"" if token in self.ends else piece or b"" for token, piece in enumerate(self.pieces)]
        longest = max(map(len, pieces), default=0)
        rows = np.frombuffer(b"".join(piece.ljust(longest, b"\0") for piece in pieces), np.uint8)
        return Grid(rows.reshape(len(pieces), longest), np.array([len(piece) for piece in pieces], np.int64))

    def text_of(self, token: int) -> bytes:
        """What a token spells; nothing where it is no text."""
        return b"" if token in self.ends else self.pieces[token] or b""

    def spell(self, text: bytes) -> list[int]:
        """Tokens that spell a text: the tokenizer's own where it has them, else the longest ones that fit.

        It ends early where no token goes on.
        """
        if self.encode is not None:
            written = self.encode(text.decode("utf-8", "ignore"))
            if b"".join(map(self.text_of, written)) == text:
                return written
        found: list[int] = []
        at, longest = 0, self.grid.rows.shape[1]
        while at < len(text):
            sizes = range(min(longest, len(text) - at), 0, -1)
            size = next((size for size in sizes if text[at : at + size] in self.texts), 0)
            if not size:
                break
            found.append(self.texts[text[at : at + size]][0])
            at += size
        return found

    def require_text(self, name: str) -> None:
        """Raise Unsupported where no token spells anything."""
        if not self.texts:
            raise Unsupported(
                f"{name} speaks of text, and there is no tokenizer", hint="load one with the model, or give token ids"
            )
