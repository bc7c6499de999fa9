"""Published questions whose answers can be checked: for real checkpoints. The zoo's know nothing of the world.

`gsm8k:answer` (Cobbe et al., arXiv 2110.14168): the last number of a reply is the reference's. `humaneval:parses`
(Chen et al., arXiv 2107.03374): the function has a body and is Python. Foreign code is read here and never run, so
whether it passes its tests is not known.
"""

from __future__ import annotations

import ast
import random
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from .contract import Exercise
from .files import read_text, records
from .replay import uncalculated

NUMBER = re.compile(r"(?:(?<!\w)-)?\d[\d,]*(?:\.\d+)?")
BEYOND = re.compile(r"\n(?=[^\s#])")  # text that stands at the margin again: the function has ended


@dataclass(frozen=True, slots=True)
class CheckedTask:
    """One set of questions."""

    name: str
    file: Path
    read: Callable[[str], Iterator[Exercise]]

    @property
    def absent(self) -> str:
        """Which file is missing; empty where it is there."""
        return "" if self.file.exists() else f"no file {self.file}"

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """All questions, shuffled."""
        found = list(self.read(read_text(self.file)))
        random.Random(f"{self.name}/{seed}").shuffle(found)
        yield from found


def _gsm8k(text: str) -> Iterator[Exercise]:
    for record in records(text):
        right = last_number(record["answer"])
        answer = uncalculated(record["answer"])
        yield Exercise(record["question"], solved=partial(_ends_in, right), answer=answer)


def last_number(text: str) -> Decimal | None:
    """The last number that a text names, without the commas between thousands; None where there is none."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _ends_in(right: Decimal | None, reply: str) -> bool:
    return right is not None and last_number(reply) == right


def _humaneval(text: str) -> Iterator[Exercise]:
    for record in records(text):
        solved = partial(parses, record["prompt"], record["entry_point"])
        yield Exercise(record["prompt"], chat=False, solved=solved, answer=record["canonical_solution"])


def parses(prompt: str, name: str, reply: str) -> bool:
    """Whether the reply adds statements to the prompt's function of that name; what follows the function is cut off."""
    return _statements(prompt + BEYOND.split(reply)[0] + "\n", name) > max(0, _statements(prompt, name))


def _statements(source: str, name: str) -> int:
    """In the body of the last function of that name; −1 where the source is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return -1
    made = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    return len(made[-1].body) if made else 0


SETS: dict[str, tuple[str, Callable[[str], Iterator[Exercise]]]] = {
    "gsm8k:answer": ("bench/gsm8k/test.jsonl.gz", _gsm8k),
    "humaneval:parses": ("bench/humaneval/HumanEval.jsonl.gz", _humaneval),
}


def checked_tasks(data: Path | None) -> list[CheckedTask]:
    """Every set, there or not."""
    root = data or Path("data")
    return [CheckedTask(name, root / file, read) for name, (file, read) in SETS.items()]
