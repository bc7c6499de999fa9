"""Countdown: reach a number from three others, with the search written out."""

from __future__ import annotations

import ast
import itertools
import random
import re
from collections import Counter

from stretto.gym.contract import Question


class Countdown:
    """Use each of three numbers once with + - * to reach the target; the search tries pairs in order."""

    name = "countdown"
    share = 1.4

    def make(self, rng: random.Random) -> Question:
        """Numbers 1 to 20; the target is one that can be reached."""
        while True:
            numbers = [rng.randint(1, 20) for _ in range(3)]
            target = rng.choice([value for _, _, finals in _tries(numbers) for _, value in finals])
            if 1 <= target <= 200:
                break
        lines = []
        for first, value, finals in _tries(numbers):
            hit = next((text for text, result in finals if result == target), None)
            shown = finals if hit is None else finals[: [text for text, _ in finals].index(hit) + 1]
            lines.append(f"{first} = {value}: " + ", ".join(f"{text} = {result}" for text, result in shown))
            if hit is not None:
                lines.append("#### " + _joined(hit, first, value))
                break
        prompt = f"Use {numbers[0]}, {numbers[1]} and {numbers[2]} once each to make {target}."
        return Question(self.name, prompt, "\n".join(lines), {"numbers": numbers, "target": target})

    def check(self, question: Question, reply: str) -> bool:
        """The expression after `####` must use exactly the given numbers and give the target."""
        expression = reply.rpartition("####")[2].strip()
        if not re.fullmatch(r"[\d+*() -]{1,60}", expression):
            return False
        used = Counter(int(number) for number in re.findall(r"\d+", expression))
        return used == Counter(question.facts["numbers"]) and _value(expression) == question.facts["target"]


def _tries(numbers: list[int]) -> list[tuple[str, int, list[tuple[str, int]]]]:
    """Each first step with its value, and the results of joining it with the third number."""
    tries = []
    for i, j in itertools.combinations(range(3), 2):
        rest = numbers[3 - i - j]
        for text, value in _joins(numbers[i], numbers[j]):
            tries.append((text, value, _joins(value, rest)))
    return tries


def _joins(left: int, right: int) -> list[tuple[str, int]]:
    high, low = max(left, right), min(left, right)
    return [(f"{left} + {right}", left + right), (f"{high} - {low}", high - low), (f"{left} * {right}", left * right)]


def _joined(hit: str, first: str, value: int) -> str:
    """The whole expression: the first step in brackets where its value stands in the last one."""
    return re.sub(rf"\b{value}\b", f"({first})", hit, count=1)


def _value(expression: str) -> int | None:
    try:
        return _evaluate(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _evaluate(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp(left, ast.Add(), right):
            return _evaluate(left) + _evaluate(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _evaluate(left) - _evaluate(right)
        case ast.BinOp(left, ast.Mult(), right):
            return _evaluate(left) * _evaluate(right)
    raise ValueError(f"not plain arithmetic: {ast.dump(node)}")


TASK = Countdown()
