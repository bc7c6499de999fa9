"""Copy a Python function with one name changed."""

from __future__ import annotations

import random
import re

from stretto.gym.contract import Question
from stretto.gym.words import COMMON

SHAPES = (
    "def {f}({a}, {b}):\n    {c} = {a} + {b}\n    if {c} > {n}:\n        return {a}\n    return {c}",
    "def {f}({a}):\n    {b} = 0\n    for {c} in {a}:\n        if {c} > {n}:\n            {b} += {c}\n    return {b}",
    "def {f}({a}, {b}):\n    {c} = []\n    for {d} in {a}:\n        {c}.append({d} * {b})\n    return {c}",
    "def {f}({a}, {b}={n}):\n    {c} = [{d} for {d} in {a} if {d} != {b}]\n    return sorted({c})",
    "def {f}({a}):\n    {b} = {{}}\n    for {c} in {a}:\n        {b}[{c}] = {b}.get({c}, 0) + {n}\n    return {b}",
    "def {f}({a}, {b}):\n    while {a} < {b}:\n        {a} = {a} * 2 + {n}\n    {c} = {a} - {b}\n    return {c}",
    "class {f}:\n    def __init__(self, {a}, {b}={n}):\n        self.{a} = {a}\n        self.{b} = {b}\n\n"
    "    def total(self):\n        return self.{a} + self.{b}",
    '{a} = load("{f}")\n{b} = [{c} for {c} in {a} if {c}.size > {n}]\nprint(len({b}), {a})',
    'try:\n    {a} = open({b}).read()\nexcept OSError as {c}:\n    print("{f}", {c})\n    {a} = ""\nprint({a}, {n})',
)


class PythonRename:
    """“Rename variable x to y”; right when only that name has changed everywhere."""

    name = "python_rename"
    share = 1.4

    def make(self, rng: random.Random) -> Question:
        """One of nine shapes of code with random names."""
        names = rng.sample(COMMON, 6)
        code = rng.choice(SHAPES).format(**dict(zip("abcdf", names, strict=False)), n=rng.randint(1, 99))
        old = rng.choice([name for name in names[:5] if re.search(rf"\b{name}\b", code)])
        prompt = f"Rename {old} to {names[5]} in this code.\n{code}"
        facts = {"code": code, "old": old, "new": names[5]}
        return Question(self.name, prompt, _renamed(code, old, names[5]), facts)

    def check(self, question: Question, reply: str) -> bool:
        """Compare with the renaming done here."""
        facts = question.facts
        return reply.rstrip() == _renamed(facts["code"], facts["old"], facts["new"])


def _renamed(code: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, code)


TASK = PythonRename()
