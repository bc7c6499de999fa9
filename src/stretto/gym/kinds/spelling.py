"""Spell words, forwards and backwards."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import ADJECTIVES, COMMON


class Spelling:
    """One to four words letter by letter, or backwards; right when every line is."""

    name = "spelling"
    share = 1.2

    def make(self, rng: random.Random) -> Question:
        """`lamp: l a m p`, one word a line."""
        words = rng.sample(COMMON + ADJECTIVES, rng.randint(1, 4))
        backwards = rng.random() < 0.4
        way = "backwards, letter by letter" if backwards else "letter by letter"
        lines = [f"{word}: {' '.join(word[::-1] if backwards else word)}" for word in words]
        return Question(self.name, f"Spell {way}: {', '.join(words)}", "\n".join(lines), {"lines": lines})

    def check(self, question: Question, reply: str) -> bool:
        """Line by line."""
        return reply.strip().split("\n") == list(question.facts["lines"])


TASK = Spelling()
