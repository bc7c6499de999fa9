"""One-step arithmetic: one to four small sums, one a line."""

from __future__ import annotations

import random

from stretto.gym.contract import Question


class Arithmetic:
    """Sums, differences and products of numbers with one to three digits."""

    name = "arithmetic"
    share = 3.0

    def make(self, rng: random.Random) -> Question:
        """One to four lines such as `12 + 7`; the answer repeats each and gives its result."""
        sums = [_term(rng) for _ in range(rng.randint(1, 4))]
        asked = [f"{left} {sign} {right}" for left, sign, right in sums]
        results = [_result(left, sign, right) for left, sign, right in sums]
        answer = "\n".join(f"{line} = {value}" for line, value in zip(asked, results, strict=True))
        prompt = f"What is {asked[0]}?" if len(asked) == 1 else "Compute:\n" + "\n".join(asked)
        return Question(self.name, prompt, answer, {"results": results})

    def check(self, question: Question, reply: str) -> bool:
        """The number after the last `=` of each line must be right."""
        lines = [line.rpartition("=")[2].strip() for line in reply.strip().splitlines()]
        return lines == [str(value) for value in question.facts["results"]]


def _term(rng: random.Random) -> tuple[int, str, int]:
    sign = rng.choice("++--*")
    if sign == "*":
        return rng.randint(2, 9), sign, rng.choice((rng.randint(2, 9), rng.randint(10, 30)))
    top = rng.choice((10, 100, 100, 1000))
    left, right = rng.randrange(1, top), rng.randrange(1, rng.choice((10, top)))
    return (max(left, right), sign, min(left, right)) if sign == "-" else (left, sign, right)


def _result(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


TASK = Arithmetic()
