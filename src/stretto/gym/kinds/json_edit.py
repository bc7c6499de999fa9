"""Change one field of a JSON object and return the whole object."""

from __future__ import annotations

import json
import random
from typing import Any

from stretto.gym.contract import Question
from stretto.gym.words import CITIES, COLORS, COMMON, DAYS, JOBS, NAMES, PLACES

FIELDS = ("name", "age", "city", "job", "color", "count", "price", "day", "place", "active", "tags", "item", "id")


class JsonEdit:
    """Set, add, remove or rename a field; right when the parsed object is."""

    name = "json_edit"
    share = 1.4

    def make(self, rng: random.Random) -> Question:
        """An object of four to eight fields and one or two edits."""
        fields = rng.sample(FIELDS, rng.randint(4, 8))
        before = {field: _value(rng, field) for field in fields}
        now, orders = dict(before), []
        for _ in range(rng.choice((1, 1, 2))):
            order, now = _edit(rng, now)
            orders.append(order)
        prompt = f"{json.dumps(before)}\n{' Then '.join(orders)}"
        return Question(self.name, prompt, json.dumps(now), {"object": now})

    def check(self, question: Question, reply: str) -> bool:
        """Parse the reply and compare the data."""
        try:
            return bool(json.loads(reply) == question.facts["object"])
        except ValueError:
            return False


def _value(rng: random.Random, field: str) -> Any:
    words = {"name": NAMES, "city": CITIES, "job": JOBS, "color": COLORS, "day": DAYS, "place": PLACES, "item": COMMON}
    if field in words:
        return rng.choice(words[field])
    if field == "active":
        return rng.random() < 0.5
    if field == "tags":
        return rng.sample(COMMON, rng.randint(1, 3))
    return rng.randint(1, 999 if field in ("price", "id") else 99)


def _edit(rng: random.Random, now: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """One edit in words, and the object after it."""
    field = rng.choice(list(now))
    match rng.randrange(4):
        case 0:
            value = _value(rng, field)
            return f"Set {field} to {json.dumps(value)}.", {**now, field: value}
        case 1:
            new = rng.choice([name for name in FIELDS if name not in now])
            value = _value(rng, new)
            return f"Add {new} with {json.dumps(value)}.", {**now, new: value}
        case 2:
            return f"Remove {field}.", {key: value for key, value in now.items() if key != field}
        case _:
            new = rng.choice([name for name in FIELDS if name not in now])
            return f"Rename {field} to {new}.", {new if key == field else key: value for key, value in now.items()}


TASK = JsonEdit()
