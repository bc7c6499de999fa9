"""The map of the methods that fill masks: where each stands, and which parts stand together."""

from __future__ import annotations

import pytest

from diffuse.canvases import answer
from laws.test_diffusion import WORLDS
from stretto import catalogue, method
from stretto.cli.methods import _own
from stretto.diagnose.filling import PARADIGMS, TECHNIQUE_OF, TECHNIQUES, TRAININGS, Fit, fits, place, section
from stretto.diffuse.family import KINDS as FILLING
from stretto.errors import InvalidRequest, Unsupported

METHODS = {name: found for name, found in catalogue.entries().items() if found.family == "diffusion"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_place_on_every_axis(name: str) -> None:
    at = place(METHODS[name], _own(METHODS[name]))
    assert at.slots and set(at.slots) <= set(FILLING)
    assert at.techniques and set(at.techniques) <= set(TECHNIQUES)
    assert at.paradigm in PARADIGMS and at.training in TRAININGS


def test_every_kind_of_part_has_a_technique() -> None:
    assert set(TECHNIQUE_OF) == set(FILLING) and set(TECHNIQUE_OF.values()) <= set(TECHNIQUES)


@pytest.mark.parametrize(
    ("name", "slots", "paradigm", "techniques", "training"),
    [
        ("ete", ("order",), "masked tokens", ("parallel decoding",), "none"),
        ("wino", ("order",), "masked tokens", ("unmasking and remasking",), "none"),
        ("rediff", ("order",), "masked tokens", ("unmasking and remasking",), "target"),
        ("learn2pd", ("order",), "masked tokens", ("parallel decoding",), "head"),
        ("dkv-cache", ("refresh",), "masked tokens", ("caching",), "none"),
        ("ssd", ("guesser",), "masked tokens", ("verification",), "none"),
        ("lave", ("constraint",), "masked tokens", ("guidance and constraints",), "none"),
        ("prophet", ("stop",), "masked tokens", ("length and blocks",), "none"),
        ("bd3lm", ("order",), "blocks", ("parallel decoding",), "none"),
    ],
)
def test_places(name: str, slots: tuple, paradigm: str, techniques: tuple, training: str) -> None:
    at = place(METHODS[name], _own(METHODS[name]))
    assert (at.slots, at.paradigm, at.techniques, at.training) == (slots, paradigm, techniques, training)


PARTS = {"a": "order", "b": "order", "x": "refresh", "y": "stop", "z": "stop"}


def door(text: str, block_causal: bool) -> None:
    """x serves with b alone; y on models that see everything, and not beside x; z nowhere."""
    parts = set(text.split("+"))
    if "z" in parts or {"a", "x"} <= parts or {"x", "y"} <= parts or ("y" in parts and block_causal):
        raise Unsupported("no", hint="another")


def test_what_stands_together_is_what_the_check_says() -> None:
    both = ("sees everything", "block-causal")
    assert fits(PARTS, door) == {
        "a": Fit(both, ("x",)),
        "b": Fit(both, ()),
        "x": Fit(both, ("a", "y")),
        "y": Fit(both[:1], ("x",)),
        "z": Fit((), ()),
    }


def test_the_page_tells_empty_leaves_and_long_lists() -> None:
    entry = METHODS["wino"]
    written = section([(entry, place(entry, _own(entry)))], PARTS | {"c": "order"}, door)
    assert "- **continuous** (noise on embeddings): *no method here*" in written
    assert "- **unmasking and remasking** (what was filled is opened or rewritten): wino" in written
    assert "| `z` | stop | none |  |" in written and "| `y` | stop | sees everything | `x` |" in written
    many = {**PARTS, "c": "order", "d": "order", "e": "order"}

    def of(like_a: str) -> str:
        """The page where these orders are refused as `a` is."""
        table = str.maketrans(like_a, "a" * len(like_a))
        return section([], many, lambda text, causal: door(text.translate(table), causal))

    assert "| `x` | refresh | both | `a`, `y`, `c` |" in of("c")
    assert "| `x` | refresh | both | orders other than `b`, `e`, `y` |" in of("cd")


def test_what_the_page_refuses_the_engine_refuses() -> None:
    for text in ("low-confidence+greedy-cache", "coherent+sliding", "explore(branches=2)+ssd", "revise+block-cache"):
        with pytest.raises(Unsupported) as caught:
            answer(WORLDS["bidirectional"], [0], text, max_new_tokens=3)
        assert caught.value.hint


def test_the_map_itself_is_no_way_of_decoding() -> None:
    assert catalogue.entries()["diffusion-taxonomy"].number == 88
    with pytest.raises(InvalidRequest, match="no way of decoding"):
        method.parse("diffusion-taxonomy")
