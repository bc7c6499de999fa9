"""The laws of layers of the target that guess."""

from __future__ import annotations

import pytest

from stretto import catalogue
from stretto.engine import Engine
from stretto.laws import inside, layers
from stretto.speculate.inside.contract import Layers
from stretto.speculate.inside.evenly import Evenly
from stretto.speculate.inside.first import First
from stretto.speculate.inside.skip import Skip

SETTINGS: dict[str, tuple[Layers, ...]] = {
    "first": (First(1), First(3)),
    "skip": (Skip((1,)),),
    "evenly": (Evenly(1.5),),
}
PARTS = {
    str(example): example
    for name, part in catalogue.parts().items()
    if part.kind == "layers"
    for example in SETTINGS.get(name) or (part(),)
}


@pytest.mark.parametrize("part", PARTS)
def test_they_say_what_they_say_alone(part: str) -> None:
    layers.they_say_what_they_say_alone(PARTS[part], inside.engine("fast").model)


@pytest.mark.parametrize("driven", inside.DRIVEN[1:])
def test_they_do_however_the_target_is_driven(driven: str) -> None:
    layers.they_say_what_they_say_alone(Skip((1,)), inside.engine(driven).model)


def test_they_do_in_as_many_pieces_as_one_likes() -> None:
    layers.they_say_what_they_say_alone(Skip((1, 3)), Engine.load("zoo/causal").model)


@pytest.mark.parametrize("way", layers.WAYS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_they_change_no_token(temperature: float, way: str) -> None:
    layers.it_changes_no_token(Skip((1,)), way, temperature=temperature, seed=3)


@pytest.mark.parametrize("part", PARTS)
def test_none_of_them_changes_a_token(part: str) -> None:
    layers.it_changes_no_token(PARTS[part], layers.WAYS[0], temperature=1.0, seed=4)
