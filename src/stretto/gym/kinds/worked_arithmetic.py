"""Longer sums and products, worked out digit by digit."""

from __future__ import annotations

import random

from stretto.gym.contract import Question


class WorkedArithmetic:
    """Addition with carries or multiplication by one digit, with every step; the last number must be right."""

    name = "worked_arithmetic"
    share = 1.2

    def make(self, rng: random.Random) -> Question:
        """Addition of numbers with 3 to 6 digits, or 2 to 4 digits times one."""
        if rng.random() < 0.6:
            size = rng.randint(3, 6)
            left, right = (rng.randrange(10 ** (size - 1), 10**size) for _ in range(2))
            value, steps, sign = left + right, _added(left, right), "+"
        else:
            left, right = rng.randrange(12, 10 ** rng.randint(2, 4)), rng.randint(2, 9)
            value, steps, sign = left * right, _multiplied(left, right), "*"
        answer = "\n".join([*steps, f"{left} {sign} {right} = {value}"])
        return Question(self.name, f"Work out {left} {sign} {right} step by step.", answer, {"value": value})

    def check(self, question: Question, reply: str) -> bool:
        """Only the number after the last `=` counts."""
        return reply.strip().rpartition("=")[2].strip() == str(question.facts["value"])


def _added(left: int, right: int) -> list[str]:
    steps, carry = [], 0
    for a, b in zip(str(left)[::-1], str(right)[::-1], strict=True):
        total = int(a) + int(b) + carry
        steps.append(f"{a} + {b} + {carry} = {total}, write {total % 10}, carry {total // 10}")
        carry = total // 10
    return steps


def _multiplied(left: int, right: int) -> list[str]:
    steps, carry = [], 0
    for digit in str(left)[::-1]:
        total = int(digit) * right + carry
        steps.append(f"{digit} * {right} + {carry} = {total}, write {total % 10}, carry {total // 10}")
        carry = total // 10
    return steps


TASK = WorkedArithmetic()
