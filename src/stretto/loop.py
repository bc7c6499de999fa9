"""What the loops of all families have in common: rows are read, join, fork and leave, and step together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import Field, replace
from threading import Lock
from time import perf_counter
from typing import Any, ClassVar, Generic, TypeVar
from weakref import ref

from .context import Context
from .entry import Guarantee
from .models.pictures import identified
from .models.reading import whole
from .models.store import Store
from .row import Commit, Row
from .steer.contract import Steer
from .values import Checked

Work = TypeVar("Work")  # a method's parts at work, as its family has them


class Loop(ABC, Generic[Work]):
    """Rounds over rows of one model. The rows may be of unlike methods of the family; each fares as it would alone.

    The scheduler calls `begin` when a request comes, `read` until its row has joined, then `step` round by round;
    `fork` gives further samples of a prompt.
    """

    def __init__(self, context: Context, cache: Store) -> None:
        self.context = replace(context, cache=cache)
        self.model = context.target
        self.cache = cache
        self.rows: list[Row] = []
        self.usual: Work | None = None  # for rows of which nothing else is said
        self.works: dict[Row, Work] = {}
        self._begun: list[tuple[Any, ref[Any]]] = []
        self._lock = Lock()

    def begin(self, method: Any) -> Work:
        """A method's parts at work: the same for equal methods, as long as someone holds them.

        May be called in any thread. Raises Unsupported where the parts cannot serve the model.
        """
        with self._lock:
            self._begun = [(known, work) for known, work in self._begun if work() is not None]
            for known, found in self._begun:
                work: Work | None = found() if known is method or known == method else None
                if work is not None:
                    return work
            fresh = self._work(method)
            self._begun.append((method, ref(fresh)))
            return fresh

    @abstractmethod
    def _work(self, method: Any) -> Work:
        """Begin the parts of a method."""

    def read(self, row: Row, work: Work | None = None, size: Callable[[], int] = whole) -> Generator[None, None, None]:
        """Read a row's text, at most `size()` tokens at each `next`, and let the row join at the end.

        Where this is closed before, or fails, the loop holds nothing of the row.
        """
        work = work or self.usual
        assert work is not None, "a row has a method"
        text, pictures, edits = row.history.tokens[:-1], row.history.pictures, row.edits
        text = identified(text, pictures) if pictures else text
        if row.cache_row < 0:
            row.cache_row = self.context.prefixes.open(self.cache, text, edits)
        row.counters.prompt_tokens = row.history.prompt_length
        begun = perf_counter()
        try:
            for _ in self._read(row, work, size):
                row.counters.prompt_seconds += perf_counter() - begun
                yield
                begun = perf_counter()
        except BaseException:
            self._forget(row, work)
            raise
        self.context.prefixes.remember(self.cache, row.cache_row, text, edits)
        row.counters.prompt_seconds += perf_counter() - begun
        self._join(row, work)

    def add(self, row: Row, work: Work | None = None) -> None:
        """Read a row's text at once, and let it join."""
        for _ in self.read(row, work):
            pass

    @abstractmethod
    def _read(self, row: Row, work: Work, size: Callable[[], int]) -> Iterator[None]:
        """Evaluate a row's text up to its last token, chunk by chunk."""

    @abstractmethod
    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as a continuation of what `row` holds now; its history is a copy of the row's."""

    def _join(self, row: Row, work: Work) -> None:
        self.rows.append(row)
        self.works[row] = work

    def remove(self, row: Row) -> None:
        """Let a row leave, finished or not."""
        self.rows.remove(row)
        self._forget(row, self.works.pop(row))

    def _forget(self, row: Row, work: Work) -> None:
        """Give back what is held of a row."""
        self.cache.free(row.cache_row)
        row.cache_row = -1

    @abstractmethod
    def step(self) -> list[Commit]:
        """One round of all rows. Finished rows leave."""

    def resumes(self, work: Work) -> bool:
        """Whether rows that left may be read anew with what they have committed; otherwise they begin again."""
        return False

    def kin(self, row: Row) -> list[Row]:
        """The rows that stand and fall with a row, itself included."""
        return [row]

    def hand_over(self, row: Row) -> None:
        """The row is to end now: commit what there is."""


class Method(metaclass=Checked):
    """The parts of one decode, its steers beside those of the request, its constraint: a frozen dataclass of these."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    steers: tuple[Steer, ...]
    constraint: Any  # what every answer obeys; None: anything goes
    pictures: ClassVar[bool] = False  # whether prompts may have pictures or a source

    @property
    @abstractmethod
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding, or what the family says in its place."""

    @abstractmethod
    def loop(self, context: Context, cache: Store) -> Loop[Any]:
        """The loop of this family, with rows of this method where nothing else is said."""

    def rows(self, samples: int) -> int:
        """How many rows of the cache one prompt takes at most, for so many answers."""
        return samples

    def repeats(self, greedy: bool) -> bool:
        """Whether the same call gives the same tokens again, at temperature 0 (`greedy`) or with the same seed."""
        return True
