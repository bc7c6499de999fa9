"""Truncations: numbers worked out by hand, the plain definitions, ties, and short lists against full sorts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from steer import slow
from stretto.errors import InvalidRequest
from stretto.steer.epsilon import Epsilon, Eta
from stretto.steer.min_p import MinP
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK
from stretto.steer.top_p import TopP
from stretto.steer.truncation import FEW, MORE, Truncation, best_first, truncate, truncate_slowly
from stretto.steer.typical import Typical

P = [0.50, 0.25, 0.15, 0.07, 0.03]
LOGITS = torch.tensor([P], dtype=torch.float64).log()
NODE = [Path(History([]))]


def kept(steered: Tensor) -> list[int]:
    return (steered[0] > -torch.inf).nonzero()[:, 0].tolist()


def probabilities(steered: Tensor) -> list[float]:
    return [round(value, 4) for value in steered.softmax(-1)[0].tolist()]


def test_by_hand() -> None:
    assert probabilities(Temperature(0.5)(LOGITS, Nodes(NODE, LOGITS))) == [0.7336, 0.1834, 0.0660, 0.0144, 0.0026]
    assert probabilities(TopP(0.8)(LOGITS, Nodes(NODE, LOGITS))) == [0.5556, 0.2778, 0.1667, 0.0, 0.0]
    assert kept(MinP(0.2)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1, 2]
    assert kept(Typical(0.2)(LOGITS, Nodes(NODE, LOGITS))) == [1]  # not the likeliest
    assert kept(Typical(0.5)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1]
    assert kept(Eta(0.06)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1, 2, 3]  # the floor is 0.06, as √ε·e^-H = 0.0689
    assert kept(Eta(0.3)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1]  # the floor is 0.1540
    assert kept(Epsilon(0.15 - 1e-9)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1, 2]
    assert kept(TopK(2)(LOGITS, Nodes(NODE, LOGITS))) == [0, 1]


def test_at_least_the_best_token_is_kept() -> None:
    assert kept(Epsilon(0.9)(LOGITS, Nodes(NODE, LOGITS))) == [0]
    assert kept(TopP(1e-9)(LOGITS, Nodes(NODE, LOGITS))) == [0]
    # typical drops token 0 and keeps the other two, neither of which epsilon would keep
    late = torch.tensor([[0.4, 0.3, 0.3]], dtype=torch.float64).log()
    assert kept(Typical(0.5)(late, Nodes(NODE, late))) == [1, 2]
    assert kept(truncate(late, [Typical(0.5), Epsilon(0.9)])) == [1]


@pytest.mark.parametrize("step", [TopK(3), TopP(0.45), Typical(0.45)])
def test_among_equals_the_lower_ids_stay(step: Truncation) -> None:
    assert kept(step(torch.zeros(1, 6), Nodes(NODE, torch.zeros(1, 6)))) == [0, 1, 2]
    wide = torch.zeros(1, 5000)
    wide[0, 4000] = 1e-6
    assert kept(TopK(3)(wide, Nodes(NODE, wide))) == [0, 1, 4000]
    wide[0, 10] = -torch.inf
    assert kept(TopK(12)(wide, Nodes(NODE, wide))) == [*range(10), 11, 4000]


def test_removed_tokens_stay_removed() -> None:
    row = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0]])
    for step in (TopK(3), TopP(0.99), MinP(0.01), Typical(0.99), Epsilon(0.01), Eta(0.01)):
        assert kept(step(row, Nodes(NODE, row))) == [1, 3]


DEFINITIONS = [
    (TopK(3), lambda row: slow.top_k(row, 3)),
    (TopP(0.7), lambda row: slow.top_p(row, 0.7)),
    (MinP(0.3), lambda row: slow.min_p(row, 0.3)),
    (Typical(0.6), lambda row: slow.typical(row, 0.6)),
    (Epsilon(0.12), lambda row: slow.epsilon(row, 0.12)),
    (Eta(0.2), lambda row: slow.eta(row, 0.2)),
]


@settings(max_examples=200)
@given(
    st.lists(st.floats(-4, 4).map(lambda x: round(x, 3)) | st.just(-math.inf), min_size=2, max_size=9),
    st.lists(st.sampled_from(range(6)), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_truncations_equal_their_definitions(row: list[float], which: list[int]) -> None:
    assume(max(row) > -math.inf)
    expected = row
    for index in which:
        expected = DEFINITIONS[index][1](expected)
    found = truncate(torch.tensor([row], dtype=torch.float64), [DEFINITIONS[index][0] for index in which])
    assert found[0].tolist() == expected


CHAINS = [
    [TopK(50)],
    [TopK(1)],
    [TopK(2000), TopP(0.5)],
    [TopP(0.3)],
    [TopP(0.999)],
    [MinP(0.2)],
    [MinP(1e-6), Typical(0.9)],
    [Epsilon(1e-3), Eta(2e-3)],
    [Eta(2e-3), Epsilon(1e-3)],
    [Typical(0.2), Eta(2e-3)],
    [Typical(0.95)],
    [TopK(50), TopP(0.9), MinP(0.05), Typical(0.9), Epsilon(0.01), Eta(0.01)],
]


@pytest.mark.parametrize("steps", CHAINS, ids=lambda steps: "+".join(step.name for step in steps))
@pytest.mark.parametrize("levels", [0, 3, 40])
def test_a_short_list_keeps_what_a_full_sort_keeps(steps: list[Truncation], levels: int) -> None:
    """Rows from flat to sharp, so that some settle and others do not; with few levels nearly all is tied."""
    vocabulary = 3 * MORE * FEW
    noise = torch.randn(6, vocabulary, generator=torch.Generator().manual_seed(levels))
    logits = noise * torch.tensor([0.0, 0.01, 0.5, 1.0, 3.0, 8.0])[:, None]
    if levels:
        logits = (logits * levels / 10).round()
    logits[3, ::2] = -torch.inf
    logits[4, 10:] = -torch.inf
    fast = truncate(logits, steps)
    assert torch.equal(fast, truncate_slowly(logits, steps))
    for row in range(len(logits)):
        assert torch.equal(fast[row], truncate(logits[row : row + 1], steps)[0])


def test_whole_numbers_sort_as_what_they_stand_for() -> None:
    odd = torch.tensor([[0.0, -0.0, -math.inf, 1e-40, -1e-40, 3.0, -3.0, 3.0, math.inf, -math.inf, 0.0]])
    many = (torch.randn(1, 3000, generator=torch.Generator().manual_seed(1)) * 300).round() / 100
    for row in (odd, many, many.double(), odd.repeat(2, 1)):
        assert torch.equal(best_first(row), row.argsort(dim=-1, descending=True, stable=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Temperature(-0.1),
        lambda: Temperature(1e-5),
        lambda: Temperature(math.nan),
        lambda: Temperature(math.inf),
        lambda: TopK(-1),
        lambda: TopP(0.0),
        lambda: TopP(1.1),
        lambda: TopP(math.nan),
        lambda: MinP(-0.1),
        lambda: MinP(1.5),
        lambda: Typical(0.0),
        lambda: Typical(2.0),
        lambda: Epsilon(1.0),
        lambda: Epsilon(-1e-9),
        lambda: Eta(1.0),
        lambda: Eta(math.nan),
    ],
)
def test_settings_out_of_range_are_refused_with_a_hint(make: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        make()  # type: ignore[operator]
    assert refusal.value.hint
