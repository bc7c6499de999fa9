"""Short word problems with worked steps; the answer ends with `#### number`."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import FRUITS, NAMES, PLACES, THINGS, plural

ITEMS = [plural(noun) for noun in FRUITS + THINGS]


class WordProblem:
    """One- to three-step problems about having, buying, giving, packing and paying."""

    name = "word_problem"
    share = 1.6

    def make(self, rng: random.Random) -> Question:
        """A problem from one of four families with fresh names, things and numbers."""
        prompt, steps, value = rng.choice((_story_of_changes, _boxes, _shopping, _comparison))(rng)
        return Question(self.name, prompt, "\n".join([*steps, f"#### {value}"]), {"value": value})

    def check(self, question: Question, reply: str) -> bool:
        """The number after `####` must be right."""
        return reply.rpartition("####")[2].strip() == str(question.facts["value"])


def _story_of_changes(rng: random.Random) -> tuple[str, list[str], int]:
    who, other = rng.sample(NAMES, 2)
    items, place, value = rng.choice(ITEMS), rng.choice(PLACES), rng.randint(5, 60)
    told = [f"{who} has {value} {items}."]
    steps = [f"{who} starts with {value} {items}."]
    for _ in range(rng.randint(1, 3)):
        amount = rng.randint(2, 30)
        if rng.random() < 0.5 and amount < value:
            told.append(rng.choice((f"{who} gives {amount} {items} to {other}.", f"{who} loses {amount} {items}.")))
            steps.append(f"After that {who} has {value} - {amount} = {value - amount} {items}.")
            value -= amount
        else:
            told.append(
                rng.choice((f"{who} buys {amount} more {items}.", f"{who} finds {amount} {items} at the {place}."))
            )
            steps.append(f"After that {who} has {value} + {amount} = {value + amount} {items}.")
            value += amount
    return " ".join([*told, f"How many {items} does {who} have now?"]), steps, value


def _boxes(rng: random.Random) -> tuple[str, list[str], int]:
    who, items = rng.choice(NAMES), rng.choice(ITEMS)
    boxes, each, extra = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 20)
    packed = boxes * each
    prompt = (
        f"{who} has {boxes} boxes with {each} {items} in each box, and {extra} more {items} on the table. "
        f"How many {items} does {who} have in all?"
    )
    steps = [
        f"The boxes hold {boxes} * {each} = {packed} {items}.",
        f"In all there are {packed} + {extra} = {packed + extra} {items}.",
    ]
    return prompt, steps, packed + extra


def _shopping(rng: random.Random) -> tuple[str, list[str], int]:
    who, (first, second) = rng.choice(NAMES), rng.sample(ITEMS, 2)
    counts, prices = [rng.randint(2, 9) for _ in range(2)], [rng.randint(2, 9) for _ in range(2)]
    costs = [count * price for count, price in zip(counts, prices, strict=True)]
    prompt = (
        f"{who} buys {counts[0]} {first} for {prices[0]} dollars each and {counts[1]} {second} for "
        f"{prices[1]} dollars each. How many dollars does {who} pay?"
    )
    steps = [
        f"The {first} cost {counts[0]} * {prices[0]} = {costs[0]} dollars.",
        f"The {second} cost {counts[1]} * {prices[1]} = {costs[1]} dollars.",
        f"Together that is {costs[0]} + {costs[1]} = {sum(costs)} dollars.",
    ]
    return prompt, steps, sum(costs)


def _comparison(rng: random.Random) -> tuple[str, list[str], int]:
    who, other = rng.sample(NAMES, 2)
    items, has, more = rng.choice(ITEMS), rng.randint(5, 50), rng.randint(2, 30)
    prompt = (
        f"{who} has {has} {items}. {other} has {more} more {items} than {who}. How many {items} do they have together?"
    )
    steps = [
        f"{other} has {has} + {more} = {has + more} {items}.",
        f"Together they have {has} + {has + more} = {2 * has + more} {items}.",
    ]
    return prompt, steps, 2 * has + more


TASK = WordProblem()
