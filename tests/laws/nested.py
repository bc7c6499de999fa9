"""Every nesting of drafters that the check lets through, on table models: right tokens, or a typed error.

Run by itself it tries them all: python tests/laws/nested.py
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from laws.stores import random_store
from laws.worlds import LastTwo
from stretto import catalogue, method
from stretto.engine import Engine
from stretto.entry import Guarantee
from stretto.errors import InvalidRequest, StrettoError
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Model
from stretto.models.table import TableModel

V = 4
TARGET, DRAFT = LastTwo(V, seed=1), TableModel.random(V, seed=2)
SETTINGS = [{"max_new_tokens": 10}, {"max_new_tokens": 10, "temperature": 1.0, "seed": 3}]
PROMPTS = [[0, 1, 2, 0, 1], [3]]


def load(name: str) -> Model:
    """Every draft model is the same small table."""
    return DRAFT


def leaves() -> dict[str, str]:
    """Every drafter that holds none, by name, with what it cannot do without."""
    needed = {name: f"{name}(path={random_store(V)})" for name in ("store", "codeswift")}
    needed |= {"template": "template(0,1)", "copy": "copy", "rsd-c": "rsd-c(2,1)", "iid": "iid(2,1)"}
    return {name: needed.get(name, name) for name in drafters() if name not in holders()}


@cache
def drafters() -> list[str]:
    """The names of all drafters."""
    return sorted(name for name, part in catalogue.parts().items() if part.kind == "drafter")


def holders() -> dict[str, int]:
    """Drafters that hold others, and how many."""
    held = {"Drafter": 1, "tuple[Drafter, ...]": 2}
    found = {}
    for name in drafters():
        size = sum(held.get(str(field.type), 0) for field in fields(catalogue.part(name)))
        if size:
            found[name] = size
    return found


def texts(depth: int) -> Iterator[str]:
    """Every nesting down to a depth that can be read: two levels of drafters that hold drafters are depth 2."""
    inner = [*leaves().values(), *(texts(depth - 1) if depth > 1 else ())]
    for name, size in holders().items():
        found = ((held,) for held in inner) if size == 1 else ((a, b) for a in inner for b in leaves().values())
        yield from (text for held in found if can_be_read(text := f"{name}({','.join(held)})"))


def drawn(chance: random.Random, depth: int) -> str:
    """One of them by chance, without writing out the rest."""
    while True:
        name = chance.choice(sorted(holders()))
        held = [
            drawn(chance, depth - 1) if depth > 1 and chance.random() < 0.5 else chance.choice(list(leaves().values()))
            for _ in range(holders()[name])
        ]
        if can_be_read(text := f"{name}({','.join(held)})"):
            return text


def can_be_read(text: str) -> bool:
    """Whether the parts take each other."""
    try:
        method.parse(text)
    except InvalidRequest:
        return False
    return True


def judged(text: str, chance: random.Random) -> str:
    """The method with an acceptor that may judge it, and with a planner, by chance."""
    drafter = method.parse(text).draft  # type: ignore[union-attr]
    able = [
        part.name
        for part in catalogue.parts().values()
        if part.kind == "acceptor" and drafter.proposals <= part.accepts and part.judges_siblings(drafter)
    ]
    return f"{text}+{chance.choice(sorted(able))}+{chance.choice(['fixed(6)', 'cheapest', 'confidence(0.2,most=6)'])}"


def attempt(text: str, chance: random.Random) -> str:
    """Decode with it: 'exact', 'other' (an acceptor of its own rule), or the name of a typed error.

    Raises AssertionError where exact tokens are not those of plain decoding, and whatever untyped error comes.
    """
    settings, samples = chance.choice(SETTINGS), chance.choice([1, 2])
    engine = Engine(TARGET, clock=SimulatedClock())
    engine._load_draft = load  # type: ignore[method-assign]
    try:
        named = method.parse(judged(text, chance))
        found = engine.generate(PROMPTS, named, samples=samples, **settings)
    except StrettoError as error:
        return type(error).__name__
    if named.guarantee is not Guarantee.EXACT:
        return "other"
    plain = Engine(TARGET, clock=SimulatedClock()).generate(PROMPTS, "plain", samples=samples, **settings)
    for answer, expected in zip(found, plain, strict=True):
        if answer.error is not None:
            return type(answer.error).__name__
        assert answer.tokens == expected.tokens, f"{answer.method}: {answer.tokens} instead of {expected.tokens}"
    return "exact"


def main() -> None:
    """All nestings of two levels, and what became of them."""
    counts: dict[str, int] = {}
    for at, text in enumerate(texts(2)):
        try:
            result = attempt(text, random.Random(text))
        except Exception as error:
            result = "FAILED"
            print(text, "|", type(error).__name__, str(error)[:150], flush=True)
        counts[result] = counts.get(result, 0) + 1
        if at % 500 == 499:
            print(at + 1, counts, flush=True)
    print(counts)


if __name__ == "__main__":
    main()
