"""Count from one number to another in even steps."""

from __future__ import annotations

import random

from stretto.gym.contract import Question


class Counting:
    """Every number of the sequence must be there."""

    name = "counting"
    share = 1.0

    def make(self, rng: random.Random) -> Question:
        """Six to sixteen numbers, up or down, in steps of 1 to 10."""
        step, count, start = rng.randint(1, 10), rng.randint(6, 16), rng.randint(1, 300)
        numbers = [start + step * index for index in range(count)]
        if rng.random() < 0.3:
            numbers.reverse()
        prompt = f"Count from {numbers[0]} to {numbers[-1]} in steps of {step}."
        return Question(self.name, prompt, ", ".join(map(str, numbers)), {"numbers": numbers})

    def check(self, question: Question, reply: str) -> bool:
        """Number by number."""
        return [part.strip() for part in reply.split(",")] == [str(number) for number in question.facts["numbers"]]


TASK = Counting()
