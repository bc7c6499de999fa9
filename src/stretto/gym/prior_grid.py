"""PriorGrid: pictures of coloured shapes, and questions about them, in a world where some shapes go together.

A picture is a grid of 8 × 8 cells with a few objects. In the world that a model is trained in, an object mostly brings
its partner along. Asked about pictures in which it doesn't, a model that goes by habit sees what is not there: that is
what hallucination in a caption is, with a switch (`skew`), and with a truth that is known.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

SIDE, CELL = 8, 4  # cells along a side, and pixels along a cell's
COLOURS = {
    "red": (1.0, 0.1, 0.1),
    "green": (0.1, 0.9, 0.1),
    "blue": (0.2, 0.2, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "white": (1.0, 1.0, 1.0),
}
SHAPES = {
    "square": ("####", "####", "####", "####"),
    "cross": (".##.", "####", "####", ".##."),
    "ring": ("####", "#..#", "#..#", "####"),
    "bars": ("####", "....", "....", "####"),
}
OBJECTS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
COMPANY = 0.9  # how often an object brings another one along
SPECIAL = ("<pad>", "<s>", "<image>", "<end>")
TEXT = ("is", "there", "a", "?", "yes", "no", "describe", ":", "and", "where", "the", "from", ",", *("left", "right"))
WORDS = (*SPECIAL, *TEXT, "above", "below", *COLOURS, *SHAPES)

Negatives = Literal["random", "adversarial"]


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects, by their numbers, and the cells that they stand in, counted along the rows."""

    objects: tuple[int, ...]
    cells: tuple[int, ...]

    def __contains__(self, thing: int) -> bool:
        return thing in self.objects

    def where(self, thing: int) -> tuple[int, int]:
        """Row and column of an object."""
        return divmod(self.cells[self.objects.index(thing)], SIDE)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a scene, and what is right."""

    scene: Scene
    prompt: str
    answer: str


def partner(thing: int) -> int:
    """Which object a thing goes together with."""
    return (thing + len(OBJECTS) // 2) % len(OBJECTS)


def named(thing: int) -> str:
    """An object in words."""
    return " ".join(OBJECTS[thing])


def scene(chance: random.Random, skew: float) -> Scene:
    """Two objects, each of which mostly brings another: its partner with probability `skew`, else any."""
    things: list[int] = []
    while len(things) < 2:
        thing = chance.randrange(len(OBJECTS))
        if thing not in things and partner(thing) not in things:
            things.append(thing)
    for leader in things[:2]:
        if chance.random() < COMPANY:
            other = partner(leader) if chance.random() < skew else chance.randrange(len(OBJECTS))
            if other not in things:
                things.append(other)
    return Scene(tuple(things), tuple(chance.sample(range(SIDE * SIDE), len(things))))


def picture(scene: Scene, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Pixels [3, 32, 32], 0 to 1 without noise; `noise` is the standard deviation of what is added to each."""
    pixels = torch.zeros(3, SIDE * CELL, SIDE * CELL)
    for thing, cell in zip(scene.objects, scene.cells, strict=True):
        colour, shape = OBJECTS[thing]
        row, column = (CELL * place for place in divmod(cell, SIDE))
        form = torch.tensor([[mark == "#" for mark in line] for line in SHAPES[shape]])
        pixels[:, row : row + CELL, column : column + CELL] = torch.tensor(COLOURS[colour])[:, None, None] * form
    if noise:
        pixels += noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
    return pixels


# -- what is asked -----------------------------------------------------------------------------


def asked(thing: int) -> str:
    """The question whether an object is there."""
    return f"is there a {named(thing)} ?"


def absent(scene: Scene, chance: random.Random, how: Negatives) -> int:
    """An object that is not there: any, or the partner of one that is (where there is such a one)."""
    missing = [thing for thing in range(len(OBJECTS)) if thing not in scene]
    lonely = [thing for thing in missing if partner(thing) in scene]
    return chance.choice(lonely if how == "adversarial" and lonely else missing)


def presence(scene: Scene, chance: random.Random, negatives: Negatives, size: int = 3) -> list[Question]:
    """So many questions about objects that are there, at most, and as many about others."""
    there = chance.sample(scene.objects, min(size, len(scene.objects)))
    found = [Question(scene, asked(thing), "yes") for thing in there]
    gone = {absent(scene, chance, negatives) for _ in found}
    while len(gone) < len(found):
        gone.add(absent(scene, chance, "random"))
    return [*found, *(Question(scene, asked(thing), "no") for thing in sorted(gone))]


def place(scene: Scene, chance: random.Random) -> Question:
    """Where one object stands, seen from another; along the axis on which they are further apart."""
    one, other = chance.sample(scene.objects, 2)
    (row, column), (back, side) = scene.where(one), scene.where(other)
    if abs(row - back) > abs(column - side):
        answer = "above" if row < back else "below"
    else:
        answer = "left" if column < side else "right"
    return Question(scene, f"where is the {named(one)} from the {named(other)} ?", answer)


def caption(scene: Scene) -> Question:
    """All that is there; what goes together is named together."""
    half = len(OBJECTS) // 2
    order = sorted(scene.objects, key=lambda thing: (thing % half, thing))
    return Question(scene, "describe :", " and ".join(f"a {named(thing)}" for thing in order))


# -- how answers fare ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presence:
    """POPE's figures: of answers to yes-or-no questions. What is neither counts as no."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes: float  # share of answers


def judged(answers: Sequence[str], questions: Sequence[Question]) -> Presence:
    """How answers to questions after presence fare."""
    said = [answer.split()[:1] == ["yes"] for answer in answers]
    true = [question.answer == "yes" for question in questions]
    both = sum(one and other for one, other in zip(said, true, strict=True))
    precision, recall = both / max(1, sum(said)), both / max(1, sum(true))
    right = sum(one == other for one, other in zip(said, true, strict=True))
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return Presence(right / len(true), precision, recall, f1, sum(said) / len(said))


@dataclass(frozen=True, slots=True)
class Mentions:
    """CHAIR's figures, and recall beside them: a short caption has little to be wrong about."""

    invented: float  # of the objects that captions mention, the share that is not there (CHAIR_i)
    captions: float  # with an invented object (CHAIR_s)
    recall: float  # of the objects that are there, the share that is mentioned


def mentioned(text: str) -> set[int]:
    """The objects that a caption names."""
    words = text.split()
    return {at for at, pair in enumerate(OBJECTS) if pair in set(pairwise(words))}


def inspected(captions: Sequence[str], scenes: Sequence[Scene]) -> Mentions:
    """How captions of scenes fare."""
    named = [mentioned(text) for text in captions]
    wrong = [said - set(scene.objects) for said, scene in zip(named, scenes, strict=True)]
    right = sum(len(said & set(scene.objects)) for said, scene in zip(named, scenes, strict=True))
    return Mentions(
        sum(map(len, wrong)) / max(1, sum(map(len, named))),
        sum(map(bool, wrong)) / len(scenes),
        right / sum(len(scene.objects) for scene in scenes),
    )
