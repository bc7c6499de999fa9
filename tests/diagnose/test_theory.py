from __future__ import annotations

import pytest

from stretto.diagnose.theory import acceptance, acceptance_from, best_length, speedup, tokens_per_round
from stretto.errors import InvalidRequest


@pytest.mark.parametrize(
    ("accepted", "length", "tokens"), [(0.5, 4, 1.9375), (0.7, 4, 2.7731), (0.8, 4, 3.3616), (0.9, 5, 4.6856)]
)
def test_tokens_per_round(accepted, length, tokens):
    assert tokens_per_round(accepted, length) == pytest.approx(tokens, abs=5e-5)
    assert tokens_per_round(accepted, length) == pytest.approx((1 - accepted ** (length + 1)) / (1 - accepted))
    assert acceptance_from(tokens_per_round(accepted, length), length) == pytest.approx(accepted)


def test_the_ends():
    assert tokens_per_round(1.0, 7) == 8.0 and tokens_per_round(0.0, 7) == 1.0 and tokens_per_round(0.6, 0) == 1.0
    assert acceptance_from(1.0, 3) == pytest.approx(0.0) and acceptance_from(4.0, 3) == pytest.approx(1.0)


def test_acceptance_is_what_two_distributions_share():
    assert acceptance([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]) == pytest.approx(0.7)
    assert acceptance([1, 0], [0, 1]) == 0.0 and acceptance([0.25] * 4, [0.25] * 4) == 1.0


def test_what_a_draft_is_worth():
    assert speedup(0.8, 4, 0.0) == pytest.approx(3.3616)
    assert speedup(0.8, 4, 0.1) == pytest.approx(3.3616 / 1.4)
    assert best_length(0.3, 0.5) == 0  # half a forward for 0.3 tokens
    assert best_length(0.9, 0.0) == 64
    lengths = {length: speedup(0.8, length, 0.1) for length in range(30)}
    assert best_length(0.8, 0.1) == max(lengths, key=lambda length: lengths[length])


@pytest.mark.parametrize(
    "call",
    [
        lambda: tokens_per_round(1.2, 3),
        lambda: tokens_per_round(0.5, -1),
        lambda: acceptance_from(5.5, 4),
        lambda: speedup(0.5, 3, -0.1),
    ],
)
def test_out_of_range(call):
    with pytest.raises(InvalidRequest) as caught:
        call()
    assert caught.value.hint
