"""Answers of a model to the gym's questions, drawn and judged: what values and rewards are learnt from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..gym import Split, questions, task

if TYPE_CHECKING:
    from ..engine import Engine

AT_ONCE = 32  # questions that are answered side by side


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer: token ids, and what its checker said."""

    kind: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]  # of the answer, its end included
    reward: float  # 1 where the answer is right, else 0


def judged(
    engine: Engine,
    kinds: Sequence[str],
    count: int,
    *,
    samples: int = 4,
    temperature: float = 1.0,
    most: int = 128,
    split: Split = "train",
    seed: int = 0,
) -> Iterator[Judged]:
    """`samples` answers to each of `count` questions of every kind, at most `most` tokens long, kinds mixed."""
    asked = [each for kind in kinds for each in questions(kind, split, count, seed)]
    random.Random(seed).shuffle(asked)
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        chats = [[{"role": "user", "content": question.prompt}] for question in some]
        found = engine.generate(
            chats, "plain", temperature=temperature, samples=samples, max_new_tokens=most, seed=seed + at
        )
        for question, answer in zip(
            itertools.chain.from_iterable([each] * samples for each in some), found, strict=True
        ):
            right = answer.finish == "end" and task(question.kind).check(question, answer.text)
            yield Judged(question.kind, tuple(answer.prompt_tokens), tuple(answer.tokens), float(right))
