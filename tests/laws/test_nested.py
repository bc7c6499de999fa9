"""Drafters that hold drafters: some of all nestings, drawn; `laws/nested.py` tries every one of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from laws.nested import attempt, drawn, holders, leaves, texts

DRAWN = 80


def test_nestings_give_right_tokens_or_a_typed_error() -> None:
    chance = random.Random(13)
    found = Counter(attempt(drawn(chance, 2), chance) for _ in range(DRAWN))
    assert found["exact"] + found["other"] > DRAWN / 2
    assert found["exact"] > DRAWN / 10


@pytest.mark.parametrize("leaf", sorted(set(leaves()) - {"forced"}))
def test_every_drafter_serves_a_model_in_the_middle_for_two_samples(leaf: str) -> None:
    """Or is refused; once, its outcome was longer than what it had drafted itself."""
    chance = random.Random(1)
    results = {attempt(f"hierarchy({leaves()[leaf]})", chance) for _ in range(3)}
    refused = leaf in ("lookahead", "pearl")  # riders; a second thread in the model that waits for it
    assert results == {"Unsupported"} if refused else results <= {"exact", "other"}


def test_the_nestings_are_those_that_can_be_read() -> None:
    flat = set(texts(1))
    assert len(flat) > 500 and all(any(f"{name}(" in text for text in flat) for name in holders())
    assert drawn(random.Random(0), 1) in flat
