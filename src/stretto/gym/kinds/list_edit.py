"""Change a list: insert, remove, replace, reverse, move."""

from __future__ import annotations

import random

from stretto.gym.contract import Question
from stretto.gym.words import COMMON


class ListEdit:
    """One or two edits of a list of words; right when the resulting list is."""

    name = "list_edit"
    share = 2.2

    def make(self, rng: random.Random) -> Question:
        """Five to twelve different words and one or two edits."""
        words = rng.sample(COMMON, rng.randint(5, 12))
        now, orders = list(words), []
        for _ in range(rng.choice((1, 1, 2))):
            order, now = _edit(rng, now)
            orders.append(order)
        prompt = f"List: {', '.join(words)}\n{' Then '.join(orders)}"
        return Question(self.name, prompt, ", ".join(now), {"items": now})

    def check(self, question: Question, reply: str) -> bool:
        """Compare item by item; spaces around the commas don't matter."""
        return [item.strip() for item in reply.strip().split(",")] == list(question.facts["items"])


def _edit(rng: random.Random, items: list[str]) -> tuple[str, list[str]]:
    """One edit in words, and the list after it."""
    place = rng.randrange(len(items))
    here, new = items[place], rng.choice([word for word in COMMON if word not in items])
    before, after = items[:place], items[place + 1 :]
    match rng.randrange(7):
        case 0:
            return f"Insert {new} after {here}.", [*before, here, new, *after]
        case 1:
            return f"Insert {new} before {here}.", [*before, new, here, *after]
        case 2:
            return f"Remove {here}.", before + after
        case 3:
            return f"Replace {here} with {new}.", [*before, new, *after]
        case 4:
            return f"Move {here} to the end.", [*before, *after, here]
        case 5:
            return f"Move {here} to the front.", [here, *before, *after]
        case _:
            return "Reverse the list.", items[::-1]


TASK = ListEdit()
