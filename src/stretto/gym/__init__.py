"""The gym: kinds of questions whose answers can be verified, for training and for measuring.

`tasks()` maps each kind's name to its task; `questions(kind, split, count, seed)` writes questions. A new kind is one
file under `gym/kinds` that defines `TASK`. Train and test never overlap: a hash of the prompt decides which split a
question may appear in, so even the small answer spaces (one-step arithmetic) hold questions that training never saw.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import itertools
import pkgutil
import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

from stretto.errors import UnknownName
from stretto.gym import kinds
from stretto.gym.contract import Question, Task

Split = Literal["train", "test"]
TEST_ONE_IN = 16

__all__ = ["Question", "Split", "Task", "questions", "split_of", "task", "tasks", "written"]


@functools.cache
def tasks() -> Mapping[str, Task]:
    """Every kind of the gym by name, in alphabetical order."""
    found: dict[str, Task] = {}
    for module in pkgutil.iter_modules(kinds.__path__):
        made: Task = importlib.import_module(f"{kinds.__name__}.{module.name}").TASK
        found[made.name] = made
    return MappingProxyType(dict(sorted(found.items())))


def task(kind: str) -> Task:
    """The task of that name; `UnknownName` lists the others."""
    if kind not in tasks():
        raise UnknownName(f"no gym task {kind!r}", hint="there are " + ", ".join(tasks()))
    return tasks()[kind]


def split_of(question: Question) -> Split:
    """The only split this question may appear in: one prompt in sixteen is kept for testing."""
    digest = hashlib.blake2b(f"{question.kind}/{question.prompt}".encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_ONE_IN == 0 else "train"


def written(kind: str, split: Split, key: str) -> Question:
    """The one question that `key` names: drawn again until its prompt belongs to `split`."""
    maker = task(kind)
    rng = random.Random(f"{split}/{kind}/{key}")
    while split_of(question := maker.make(rng)) != split:
        pass
    return question


def questions(kind: str, split: Split, count: int, seed: int = 0) -> Iterator[Question]:
    """`count` questions with different prompts; the same arguments give the same questions.

    Where a kind has fewer different prompts than asked for, prompts come again rather than never ending.
    """
    seen: set[str] = set()
    given = repeats = 0
    for index in itertools.count():
        if given == count:
            return
        question = written(kind, split, f"{seed}/{index}")
        if question.prompt in seen and repeats < 10 * count:
            repeats += 1
            continue
        seen.add(question.prompt)
        given += 1
        yield question
