"""ParallelBench's questions (arXiv 2510.04767), each with every right answer written down.

Trivial for whoever writes one word after another, and a trap for whoever writes several at once: where more than one
answer is right, what stands at one place depends on what stands at the others. Written anew here, with the gym's words.

Lists have their place named by the word that stands there. The benchmark's paraphrases and summaries are judged by
models, and left out; its sentences from words are kept as far as a list of all right ones goes.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidRequest, UnknownName, closest
from .words import ADJECTIVES, ANIMALS, COMMON, VERBS

LENGTH = 5  # words of a list, where nothing else is said
SHORTEST, LONGEST = 3, 8  # all orders of a list are written down: 8! are 40,320
SIZE = 4  # rows and columns of a square
BLANKS = 4  # of a sudoku: 12 of its 16 cells are given
PAIRS = "-pairs"  # lists of names of two words each, which belong together

Answer = tuple[str, ...]


class Form(NamedTuple):
    """How an answer's parts make a text."""

    cut: Callable[[str], Answer]  # takes any text
    join: Callable[[Answer], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and all its right answers, by their parts."""

    prompt: str
    answers: frozenset[Answer]
    form: Form

    def solved(self, reply: str) -> bool:
        """Whether a reply is one of the right answers; never raises on nonsense."""
        return self.form.cut(reply) in self.answers

    @property
    def answer(self) -> str:
        """One of the right answers as a text, always the same."""
        return self.form.join(min(self.answers))


def write(kind: str, rng: random.Random, length: int = LENGTH) -> Asked:
    """One question of a kind; `length` is that of lists. The same generator state gives the same question.

    Raises UnknownName, and InvalidRequest outside of 3 … 8.
    """
    if kind not in KINDS:
        raise UnknownName(f"ParallelBench has no {kind!r}", hint=closest(kind, KINDS))
    require_length(length)
    if kind in SENTENCES:
        return _sentence(rng, SENTENCES[kind])
    if kind in ("latin-square", "sudoku"):
        return _latin_square(rng) if kind == "latin-square" else _sudoku(rng)
    return _list(kind, rng, length)


def require_length(length: int) -> None:
    """Raise InvalidRequest for lists that are too short to tell kinds apart, or too long to write all answers down."""
    if not SHORTEST <= length <= LONGEST:
        raise InvalidRequest(f"a list of {length} words", hint=f"{SHORTEST} to {LONGEST}")


# -- lists ------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """What an order is about: a list, a place in it, and a word that is not in it."""

    items: Answer
    place: int
    new: str

    def replaced(self, at: int) -> Answer:
        """With the new word in the place of one."""
        return (*self.items[:at], self.new, *self.items[at + 1 :])

    def inserted(self, at: int) -> Answer:
        """With the new word before one; at the end where there is none."""
        return (*self.items[:at], self.new, *self.items[at:])

    def removed(self, at: int) -> Answer:
        """Without one."""
        return (*self.items[:at], *self.items[at + 1 :])

    def reordered(self) -> Iterator[Answer]:
        """In every other order."""
        return (order for order in itertools.permutations(self.items) if order != self.items)


LINES: dict[str, tuple[str, Callable[[Line], Iterable[Answer]]]] = {  # what is asked, and what is right
    "copy": ("Copy the text.\n{list}", lambda x: [x.items]),
    "reverse": ("List: {list}\nReverse the list.", lambda x: [x.items[::-1]]),
    "sort": ("Sort the words from A to Z: {list}", lambda x: [tuple(sorted(x.items))]),
    "shuffle": ("List: {list}\nPut the words in another order.", Line.reordered),
    "insert-index": ("List: {list}\nInsert {new} before {here}.", lambda x: [x.inserted(x.place)]),
    "insert-random": (
        "List: {list}\nInsert {new} anywhere.",
        lambda x: map(x.inserted, range(len(x.items) + 1)),
    ),
    "remove-index": ("List: {list}\nRemove {here}.", lambda x: [x.removed(x.place)]),
    "remove-random": ("List: {list}\nRemove any one word.", lambda x: map(x.removed, range(len(x.items)))),
    "replace-index": ("List: {list}\nReplace {here} with {new}.", lambda x: [x.replaced(x.place)]),
    "replace-random": (
        "List: {list}\nReplace any one word with {new}.",
        lambda x: map(x.replaced, range(len(x.items))),
    ),
}
IN_A_LINE = Form(lambda reply: tuple(item.strip() for item in reply.split(",")), ", ".join)


def _list(kind: str, rng: random.Random, length: int) -> Asked:
    ask, right = LINES[kind.removesuffix(PAIRS)]
    nouns = rng.sample(COMMON, length + 1)
    if kind.endswith(PAIRS):
        nouns = [
            f"{adjective} {noun}" for adjective, noun in zip(rng.sample(ADJECTIVES, length + 1), nouns, strict=True)
        ]
    line = Line(tuple(nouns[:length]), rng.randrange(length), nouns[length])
    prompt = ask.format(list=IN_A_LINE.join(line.items), here=line.items[line.place], new=line.new)
    return Asked(prompt, frozenset(right(line)), IN_A_LINE)


# -- sentences --------------------------------------------------------------------------------------------

SENTENCES = {"sentence-easy": 0, "sentence-medium": 1, "sentence-hard": 2}  # adjectives among the words
IN_A_SENTENCE = Form(
    lambda reply: tuple(reply.strip().removesuffix(".").lower().split()),
    lambda words: f"{' '.join(words).capitalize()}.",
)


def _sentence(rng: random.Random, adjectives: int) -> Asked:
    """`the ADJECTIVE* NOUN VERB the ADJECTIVE* NOUN`: either noun first, adjectives with either."""
    nouns, verb, extra = rng.sample(ANIMALS, 2), rng.choice(VERBS), rng.sample(ADJECTIVES, adjectives)
    words = ["the", "the", verb, *nouns, *extra]
    rng.shuffle(words)
    right = (
        ("the", *order[:split], first, verb, "the", *order[split:], second)
        for first, second in itertools.permutations(nouns)
        for order in itertools.permutations(extra)
        for split in range(adjectives + 1)
    )
    return Asked(f"Make a sentence of these words, each used once: {', '.join(words)}", frozenset(right), IN_A_SENTENCE)


# -- squares ----------------------------------------------------------------------------------------------


def _rows(cells: Answer) -> str:
    return "\n".join(" ".join(cells[at : at + SIZE]) for at in range(0, len(cells), SIZE))


def _cells(reply: str) -> Answer:
    """The cells, row after row; of anything but 4 lines of 4 none."""
    rows = [line.split() for line in reply.strip().split("\n")]
    return tuple(cell for row in rows for cell in row) if [len(row) for row in rows] == [SIZE] * SIZE else ()


IN_A_SQUARE = Form(_cells, _rows)


@functools.cache
def squares(size: int) -> tuple[tuple[int, ...], ...]:
    """Every Latin square of the numbers from 0, row after row: 12 of three, 576 of four."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(size):
        found = [
            (*above, *row)
            for above in found
            for row in itertools.permutations(range(size))
            if all(row[at % size] != cell for at, cell in enumerate(above))
        ]
    return tuple(found)


@functools.cache
def sudokus() -> tuple[Answer, ...]:
    """Every filled grid: Latin squares whose 2 by 2 boxes hold each digit as well, 288."""
    boxes = [[8 * (box // 2) + 2 * (box % 2) + step for step in (0, 1, SIZE, SIZE + 1)] for box in range(SIZE)]
    valid = (each for each in squares(SIZE) if all(len({each[at] for at in box}) == SIZE for box in boxes))
    return tuple(tuple(str(1 + cell) for cell in each) for each in valid)


def _latin_square(rng: random.Random) -> Asked:
    digits = rng.sample("123456789", SIZE)
    prompt = (
        f"Write a Latin square of {', '.join(digits)}: four lines of four digits, each digit once in every line and "
        "in every column."
    )
    return Asked(prompt, frozenset(tuple(digits[cell] for cell in each) for each in squares(SIZE)), IN_A_SQUARE)


def _sudoku(rng: random.Random) -> Asked:
    """Most have one solution; where there are several, each is right."""
    grid = rng.choice(sudokus())
    blank = set(rng.sample(range(SIZE * SIZE), BLANKS))
    given = {at: cell for at, cell in enumerate(grid) if at not in blank}
    right = (each for each in sudokus() if all(each[at] == cell for at, cell in given.items()))
    puzzle = _rows(tuple(given.get(at, "_") for at in range(SIZE * SIZE)))
    return Asked(f"Solve the sudoku.\n{puzzle}", frozenset(right), IN_A_SQUARE)


KINDS = (*LINES, *(kind + PAIRS for kind in LINES), *SENTENCES, "latin-square", "sudoku")
