"""Write a small Python function; right when it passes its tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from stretto.gym.contract import Question
from stretto.gym.sandbox import call_function
from stretto.gym.words import COMMON

NUMBER_NAMES = ("n", "x", "a", "num", "value", "count")
LIST_NAMES = ("items", "values", "numbers", "data", "nums", "xs")
WORDS_NAMES = ("words", "names", "lines", "parts")
TEXT_NAMES = ("text", "s", "line", "string", "word")


class PythonFunction:
    """“Write a Python function f(x) that …”, from some thirty shapes with free names and constants."""

    name = "python_function"
    share = 1.6

    def make(self, rng: random.Random) -> Question:
        """A function on numbers, lists of numbers, lists of words, or text, with five test calls."""
        kind, names, templates = rng.choice(
            (
                ("n", NUMBER_NAMES, _on_number),
                ("l", LIST_NAMES, _on_numbers),
                ("w", WORDS_NAMES, _on_words),
                ("s", TEXT_NAMES, _on_text),
            )
        )
        given = rng.choice(names)
        about, body = rng.choice(templates(given, rng))
        function = f"{rng.choice(('get', 'find', 'make', 'compute', 'solve', 'do'))}_{rng.choice(COMMON)}"
        source = "\n".join([f"def {function}({given}):", *(f"    {line}" for line in body)])
        calls = [[_argument(kind, rng)] for _ in range(5)]
        scope: dict[str, Any] = {}
        exec(source, scope)  # our own template, not a reply
        tests = [[call, scope[function](*call)] for call in calls]
        prompt = f"Write a Python function {function}({given}) that {about}."
        return Question(self.name, prompt, source, {"function": function, "tests": tests})

    def check(self, question: Question, reply: str) -> bool:
        """Run the reply in a restricted process on the five calls."""
        calls, wanted = zip(*question.facts["tests"], strict=True)
        return call_function(reply.strip(), question.facts["function"], list(calls)) == list(wanted)


def _argument(kind: str, rng: random.Random) -> Any:
    make: dict[str, Callable[[], Any]] = {
        "n": lambda: rng.randint(0, 30),
        "l": lambda: [rng.randint(-20, 60) for _ in range(rng.randint(1, 8))],
        "w": lambda: rng.choices(COMMON, k=rng.randint(1, 6)),
        "s": lambda: " ".join(rng.choices(COMMON, k=rng.randint(1, 4))),
    }
    return make[kind]()


def _loop(given: str, start: str, each: str, update: list[str]) -> list[str]:
    return [f"result = {start}", f"for {each} in {given}:", *(f"    {line}" for line in update), "return result"]


def _on_number(x: str, rng: random.Random) -> list[tuple[str, list[str]]]:
    k, m = rng.randint(2, 20), rng.randint(2, 12)
    return [
        (f"returns {x} plus {k}", [f"return {x} + {k}"]),
        (f"returns {x} times {k} minus {m}", [f"return {x} * {k} - {m}"]),
        (f"returns True if {x} is divisible by {k}", [f"return {x} % {k} == 0"]),
        (f"returns the sum of the numbers from 1 to {x}", _loop(f"range(1, {x} + 1)", "0", "i", ["result += i"])),
        (f"returns the product of the numbers from 1 to {x}", _loop(f"range(1, {x} + 1)", "1", "i", ["result *= i"])),
        (
            f"returns a list of the numbers below {x} that are divisible by {m}",
            [f"return [i for i in range({x}) if i % {m} == 0]"],
        ),
        (f"returns the square of {x} plus {k}", [f"return {x} * {x} + {k}"]),
        (
            f'returns "big" if {x} is greater than {k}, otherwise "small"',
            [f"if {x} > {k}:", '    return "big"', 'return "small"'],
        ),
        (f"returns the first {k} multiples of {x} as a list", [f"return [{x} * i for i in range(1, {k} + 1)]"]),
        (f"returns the sum of the digits of {x}", [f"return sum(int(digit) for digit in str({x}))"]),
        (f"counts down from {x} to 1 and returns the list", [f"return list(range({x}, 0, -1))"]),
    ]


def _on_numbers(x: str, rng: random.Random) -> list[tuple[str, list[str]]]:
    k = rng.randint(2, 20)
    return [
        (f"returns the sum of {x}", _loop(x, "0", "item", ["result += item"])),
        (f"adds {k} to every number in {x}", [f"return [item + {k} for item in {x}]"]),
        (f"multiplies every number in {x} by {k}", [f"return [item * {k} for item in {x}]"]),
        (f"returns the numbers in {x} greater than {k}", [f"return [item for item in {x} if item > {k}]"]),
        (f"returns the numbers in {x} less than {k}", [f"return [item for item in {x} if item < {k}]"]),
        (f"counts the numbers in {x} greater than {k}", _loop(x, "0", "item", [f"if item > {k}:", "    result += 1"])),
        (f"returns the even numbers in {x}", [f"return [item for item in {x} if item % 2 == 0]"]),
        (f"returns the largest number in {x}", _loop(x, f"{x}[0]", "item", ["if item > result:", "    result = item"])),
        (
            f"returns the smallest number in {x}",
            _loop(x, f"{x}[0]", "item", ["if item < result:", "    result = item"]),
        ),
        (f"returns {x} sorted from large to small", [f"return sorted({x}, reverse=True)"]),
        (f"returns {x} in reverse order", [f"return {x}[::-1]"]),
        (f"returns the difference between the largest and the smallest number in {x}", [f"return max({x}) - min({x})"]),
        (
            f"returns {x} without duplicates, in order",
            _loop(x, "[]", "item", ["if item not in result:", "    result.append(item)"]),
        ),
        (
            f"returns the running totals of {x}",
            ["total = 0", *_loop(x, "[]", "item", ["total += item", "result.append(total)"])],
        ),
    ]


def _on_words(x: str, rng: random.Random) -> list[tuple[str, list[str]]]:
    k, letter = rng.randint(2, 7), rng.choice("abcdefghilmnoprst")
    return [
        (f"returns the words in {x} longer than {k} letters", [f"return [word for word in {x} if len(word) > {k}]"]),
        (
            f'returns the words in {x} that start with "{letter}"',
            [f'return [word for word in {x} if word.startswith("{letter}")]'],
        ),
        (f"joins {x} with dashes", [f'return "-".join({x})']),
        (f"returns {x} in upper case", [f"return [word.upper() for word in {x}]"]),
        (f"returns the length of every word in {x}", [f"return [len(word) for word in {x}]"]),
        (
            f"counts how often each word occurs in {x}",
            _loop(x, "{}", "word", ["result[word] = result.get(word, 0) + 1"]),
        ),
        (
            f"returns the longest word in {x}",
            _loop(x, f"{x}[0]", "word", ["if len(word) > len(result):", "    result = word"]),
        ),
        (f"returns a dictionary from each word in {x} to its length", [f"return {{word: len(word) for word in {x}}}"]),
        (
            f'counts the words in {x} that contain "{letter}"',
            _loop(x, "0", "word", [f'if "{letter}" in word:', "    result += 1"]),
        ),
    ]


def _on_text(x: str, rng: random.Random) -> list[tuple[str, list[str]]]:
    letter, other = rng.sample("abcdefghilmnoprst", 2)
    return [
        (f"returns {x} reversed", [f"return {x}[::-1]"]),
        (f"counts the vowels in {x}", _loop(x, "0", "letter", ['if letter in "aeiou":', "    result += 1"])),
        (f'replaces "{letter}" with "{other}" in {x}', [f'return {x}.replace("{letter}", "{other}")']),
        (f"returns the words of {x} in reverse order", [f'return " ".join({x}.split()[::-1])']),
        (f'counts how often "{letter}" occurs in {x}', [f'return {x}.count("{letter}")']),
        (f"returns True if {x} is the same backwards", [f"return {x} == {x}[::-1]"]),
        (f"returns the number of words in {x}", [f"return len({x}.split())"]),
        (f"returns {x} with every word capitalized", [f'return " ".join(word.capitalize() for word in {x}.split())']),
        (
            f'returns {x} without the letter "{letter}"',
            _loop(x, '""', "letter", [f'if letter != "{letter}":', "    result += letter"]),
        ),
    ]


TASK = PythonFunction()
