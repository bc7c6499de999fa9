"""An answer piece by piece, as its rounds end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .generation import Generation
from .method import Loop
from .pieces import Text
from .row import Commit, Row


@dataclass(frozen=True, slots=True)
class Piece:
    """What one round added to a stream."""

    text: str  # may be empty while a character or a stop string is unfinished
    tokens: list[int]
    sources: list[str]  # who guessed each token; "" for the model's own


class Stream(Iterator[Piece]):
    """Pieces as they come; `generation` holds what there is so far, and all of it at the end."""

    def __init__(self, loop: Loop, row: Row, text: Text, generation: Callable[[], Generation]) -> None:
        """`loop` holds the row alone; `text` is that of its answer, empty yet."""
        self.loop = loop
        self.row = row
        self._text = text
        self._generation = generation
        self._ended = False
        self._given = 0  # new tokens handed out

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        if self.row.finish:
            if self._ended:
                raise StopIteration
            self._ended = True
            self._text.extend([], last=True)
            return Piece(self._text.release(last=True), [], [])
        try:
            (commit,) = self.loop.step()
        except KeyboardInterrupt:
            self.row.unwind()
            left = self.row.new_tokens[self._given :]  # of a round that was over, but had not been handed out
            commit = Commit(self.row, left, [""] * len(left))
        self._given += len(commit.tokens)
        self._text.extend(commit.tokens)
        return Piece(self._text.release(), commit.tokens, commit.sources)

    @property
    def generation(self) -> Generation:
        """What there is so far."""
        return self._generation()
