"""Extract records from sentences as JSON."""

from __future__ import annotations

import json
import random
from typing import Any

from stretto.gym.contract import Question
from stretto.gym.words import CITIES, COLORS, DAYS, JOBS, NAMES, PLACES, SURNAMES, THINGS, a


class ExtractJson:
    """Sentences about people, orders or meetings, to be returned as a JSON list of objects."""

    name = "extract_json"
    share = 2.4

    def make(self, rng: random.Random) -> Question:
        """One to three records, each told in one of several ways."""
        write = rng.choice((_person, _order, _meeting))
        told, records = zip(*(write(rng) for _ in range(rng.choice((1, 2, 2, 3)))), strict=True)
        prompt = f"Extract the {write.__name__[1:]} records as JSON with {', '.join(records[0])}.\n{' '.join(told)}"
        return Question(self.name, prompt, json.dumps(records), {"records": list(records)})

    def check(self, question: Question, reply: str) -> bool:
        """Parse the reply and compare the data."""
        try:
            return bool(json.loads(reply) == question.facts["records"])
        except ValueError:
            return False


def _person(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name, age = f"{rng.choice(NAMES)} {rng.choice(SURNAMES)}", rng.randint(20, 79)
    job, city = rng.choice(JOBS), rng.choice(CITIES)
    told = rng.choice(
        (
            f"{name} is a {age} year old {job} from {city}.",
            f"In {city} lives {name}, {age}, who works as {a(job)}.",
            f"The {job} {name} is {age} years old and lives in {city}.",
        )
    )
    return told, {"name": name, "age": age, "job": job, "city": city}


def _order(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name, count, color, item = rng.choice(NAMES), rng.randint(2, 40), rng.choice(COLORS), rng.choice(THINGS)
    price = rng.randint(3, 95)
    told = rng.choice(
        (
            f"{name} ordered {count} of the {color} {item} for {price} dollars.",
            f"For {price} dollars {name} gets the {color} {item}, {count} of them.",
            f"Please send {name} the {color} {item}, quantity {count}, price {price} dollars.",
        )
    )
    return told, {"customer": name, "item": item, "color": color, "count": count, "price": price}


def _meeting(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name, place, day = rng.choice(NAMES), rng.choice(PLACES), rng.choice(DAYS)
    time = f"{rng.randint(8, 19)}:{rng.choice(('00', '15', '30', '45'))}"
    told = rng.choice(
        (
            f"Meet {name} at the {place} on {day} at {time}.",
            f"On {day} at {time} {name} waits at the {place}.",
            f"{name} comes to the {place} at {time} on {day}.",
        )
    )
    return told, {"who": name, "place": place, "day": day, "time": time}


TASK = ExtractJson()
