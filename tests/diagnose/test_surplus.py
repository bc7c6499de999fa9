from __future__ import annotations

import math

import pytest
import torch

from stretto.diagnose.surplus import Probe, Surplus, Term, information_surplus
from stretto.errors import InvalidRequest

QUICK = Probe(size=16, epochs=8, rate=1e-2)


def source(count, vocabulary=8, seed=0, noise=0.0):
    """The next token is chance; the one after it is a hidden bit, which h carries among noise."""
    generator = torch.Generator().manual_seed(seed)
    bit = torch.randint(2, (count,), generator=generator)
    hidden = torch.randn(count, 6, generator=generator)
    hidden[:, 2] = 5.0 * bit + noise * hidden[:, 2]
    following = torch.randint(vocabulary, (count, 3), generator=generator)
    following[:, 1] = bit
    return hidden, following


def test_a_hidden_bit_is_worth_ln_2():
    hidden, following = source(4000)
    found = information_surplus(hidden, following, 8, QUICK)
    assert found.terms[0].surplus == pytest.approx(math.log(2), abs=0.02)
    assert found.terms[0].interval[0] <= math.log(2) + 0.02 and found.terms[0].loss < 0.02
    assert abs(found.terms[1].difference) < 0.02
    assert found.total == pytest.approx(math.log(2), abs=0.03) and found.bound == pytest.approx(2 * math.log(8))


def test_states_of_other_positions_and_independent_tokens_are_worth_nothing():
    hidden, following = source(4000)
    shuffled = hidden[torch.randperm(4000, generator=torch.Generator().manual_seed(1))]
    assert information_surplus(shuffled, following[:, :2], 8, QUICK).total < 0.02
    independent = torch.randint(8, (4000, 2), generator=torch.Generator().manual_seed(2))
    assert information_surplus(hidden, independent, 8, QUICK).total < 0.02


def test_the_last_fifth_is_told_and_nothing_is_learnt_from_it():
    hidden, following = source(3000)
    hidden[2400:, 2] = -hidden[2400:, 2] + 5.0  # there the state says the opposite
    found = information_surplus(hidden, following[:, :2], 8, QUICK)
    assert found.terms[0].difference < -1.0 and found.total == 0.0


def test_what_the_tokens_between_say_already_is_no_surplus():
    """W_{t+1} is a function of W_t, and h knows W_t as well: the probe without h sees it too."""
    generator = torch.Generator().manual_seed(3)
    next_token = torch.randint(4, (4000,), generator=generator)
    hidden = torch.nn.functional.one_hot(next_token, 4).float()
    following = torch.stack([next_token, (3 * next_token + 1) % 4], 1)
    found = information_surplus(hidden, following, 4, QUICK)
    assert found.total < 0.02 and found.terms[0].loss_without < 0.02


def test_the_estimate_never_exceeds_its_bound_nor_falls_below_zero():
    found = Surplus([Term(1, 0.9, 0.1, 0.0, 0.9), Term(2, -0.3, 0.1, 1.0, 0.7)], bound=0.8)
    assert found.terms[1].surplus == 0.0 and found.total == 0.8
    assert found.terms[0].interval == pytest.approx((0.704, 1.096))


def test_probes_do_not_disturb_the_callers_chance():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    hidden, following = source(100)
    first = information_surplus(hidden, following, 8, Probe(size=4, epochs=2))
    assert torch.equal(torch.rand(3), expected)
    with torch.inference_mode():
        assert information_surplus(hidden, following, 8, Probe(size=4, epochs=2)) == first


@pytest.mark.parametrize(
    "call",
    [
        lambda: information_surplus(torch.zeros(60, 2), torch.zeros(60, 1, dtype=torch.int64), 4),
        lambda: information_surplus(torch.zeros(10, 2), torch.zeros(10, 2, dtype=torch.int64), 4),
        lambda: information_surplus(torch.zeros(61, 2), torch.zeros(60, 2, dtype=torch.int64), 4),
        lambda: Probe(epochs=0),
        lambda: Probe(rate=0.0),
    ],
)
def test_out_of_range(call):
    with pytest.raises(InvalidRequest) as caught:
        call()
    assert caught.value.hint
