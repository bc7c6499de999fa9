"""One line says what is guaranteed for an answer, by its method and by how its model computes."""

from __future__ import annotations

import pytest

from stretto import Engine
from stretto.entry import Guarantee
from stretto.guarantee import guarantee
from stretto.models.numbers import Numbers, numbers_of
from stretto.models.table import TableModel

FORMS = {
    "float32": Numbers("float32"),
    "Q8_0": Numbers("float32", "Q8_0"),
    "bfloat16": Numbers("bfloat16"),
    "bits": Numbers("bfloat16", bits=True),
}
EXPECTED = {
    ("float32", Guarantee.EXACT): "exact tokens",
    ("Q8_0", Guarantee.EXACT): "exact up to rounding: that of Q8_0 can change tokens",
    ("bfloat16", Guarantee.EXACT): "exact up to rounding: that of bfloat16 can change tokens",
    ("bits", Guarantee.EXACT): "exact bits",
    ("float32", Guarantee.DISTRIBUTION): "exact in distribution",
    ("bfloat16", Guarantee.DISTRIBUTION): "exact in distribution",
    ("bits", Guarantee.DISTRIBUTION): "exact in distribution",
    ("bits", Guarantee.APPROXIMATE): "approximate",
    ("float32", Guarantee.NONE): "none",
}


@pytest.mark.parametrize(("form", "method"), EXPECTED)
def test_what_is_said(form: str, method: Guarantee) -> None:
    said = guarantee(method, FORMS[form], greedy=False)
    assert said.startswith(EXPECTED[form, method]) and "\n" not in said
    certain = guarantee(method, FORMS[form], greedy=True)
    assert certain == guarantee(
        Guarantee.EXACT if method is Guarantee.DISTRIBUTION else method, FORMS[form], greedy=True
    )
    coarse = form in ("Q8_0", "bfloat16") and method is Guarantee.DISTRIBUTION
    assert (f"up to the rounding of {form}" in said) is coarse


def test_it_says_where_a_seed_does_not_repeat() -> None:
    engine = Engine(TableModel.random(7, seed=1))
    for text in ("lookup+rejection", "lookup+rejection+cheapest", "lookup+relaxed+cheapest", "lookup"):
        answer = engine.generate([1, 2], text, max_new_tokens=3, temperature=0.7)
        assert ("a seed does not repeat" in answer.guarantee) is not answer.repeats, text
        assert answer.repeats is not text.endswith("cheapest")


def test_an_answer_says_it() -> None:
    engine = Engine(TableModel.random(7, seed=1))
    assert numbers_of(engine.model) == Numbers("float64")
    for method, temperature, expected in (
        ("plain", 0.0, "exact tokens"),
        ("lookup", 0.7, "exact tokens"),
        ("lookup+rejection", 0.0, "exact tokens"),
        ("lookup+rejection", 0.7, "exact in distribution"),
        ("lookup+relaxed", 0.7, "approximate"),
    ):
        answer = engine.generate([1, 2], method, max_new_tokens=3, temperature=temperature)
        assert answer.guarantee.startswith(expected), method
        assert answer.record()["guarantee"] == answer.guarantee
        assert answer.record()["numbers"]["dtype"] == "float64"


def test_the_record_names_the_kernels() -> None:
    engine = Engine.load("zoo/causal", reproducible=True)
    numbers = engine.generate([5, 6], max_new_tokens=2).record()["numbers"]
    assert numbers["settled"] and not numbers["bits"]
    assert numbers["kernels"] == dict(numbers_of(engine.model).kernels)
    assert list(numbers["kernels"]) == ["qkv", "out", "gate_up", "down", "head"]
