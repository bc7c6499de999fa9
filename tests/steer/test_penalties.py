"""Penalties: numbers worked out by hand, and the plain definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steer import slow
from stretto.errors import InvalidRequest
from stretto.steer.frequency import Frequency
from stretto.steer.no_repeat import NoRepeat
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path, Scope
from stretto.steer.repetition import Repetition

LOGITS = [2.0, 1.0, -1.0]


def path(prompt: list[int], output: list[int] = [], drafted: tuple[int, ...] = ()) -> Path:
    history = History(prompt)
    history.extend(output)
    return Path(history, drafted)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_repetition_by_hand() -> None:
    steered = Repetition(1.25)(rows(LOGITS), Nodes([path([0, 2])], rows(LOGITS)))
    torch.testing.assert_close(steered, rows([1.6, 1.0, -1.25]))
    torch.testing.assert_close(rows(LOGITS).softmax(-1), rows([0.7054, 0.2595, 0.0351]), atol=5e-5, rtol=0)
    torch.testing.assert_close(steered.softmax(-1), rows([0.6224, 0.3416, 0.0360]), atol=5e-5, rtol=0)


def test_repetition_applies_once_however_often_a_token_occurs() -> None:
    once, often = path([0, 2]), path([0, 0, 2], [2, 0], (0, 2, 0))
    steered = Repetition(1.25)(rows(LOGITS, LOGITS), Nodes([once, often], rows(LOGITS, LOGITS)))
    assert torch.equal(steered[0], steered[1])


def test_frequency_and_presence_by_hand() -> None:
    steered = Frequency(0.5, 0.25)(
        rows(LOGITS), Nodes([path([1, 1, 1], [0, 2, 0])], rows(LOGITS))
    )  # the prompt does not count
    torch.testing.assert_close(steered, rows([0.75, 1.0, -1.75]))
    torch.testing.assert_close(steered.softmax(-1), rows([0.4226, 0.5427, 0.0347]), atol=5e-5, rtol=0)


def test_a_token_committed_and_drafted_counts_twice_not_thrice() -> None:
    steered = Frequency(0.5)(rows(LOGITS), Nodes([path([], [0], (0,))], rows(LOGITS)))
    torch.testing.assert_close(steered, rows([1.0, 1.0, -1.0]))


def test_siblings_do_not_see_each_other() -> None:
    history = History([])
    history.extend([2])
    nodes = [Path(history), Path(history, (0,)), Path(history, (1,)), Path(history, (0, 1))]
    steered = Frequency(1.0)(rows(*[LOGITS] * 4), Nodes(nodes, rows(*[LOGITS] * 4)))
    torch.testing.assert_close(steered, rows([2, 1, -2], [1, 1, -2], [2, 0, -2], [1, 0, -2]))


def test_no_repeat_by_hand() -> None:
    kept = NoRepeat(2)(rows(LOGITS), Nodes([path([0, 1, 0, 2], [0])], rows(LOGITS)))[0]  # 0 was followed by 1 and by 2
    assert kept.tolist() == [2.0, -torch.inf, -torch.inf]
    assert torch.equal(NoRepeat(2, exempt={1})(rows(LOGITS), Nodes([path([0, 1], [0])], rows(LOGITS))), rows(LOGITS))
    assert torch.equal(NoRepeat(2, Scope.OUTPUT)(rows(LOGITS), Nodes([path([0, 1], [0])], rows(LOGITS))), rows(LOGITS))


TOKENS = st.lists(st.integers(0, 3), max_size=6)
VALUES = st.lists(st.floats(-5, 5), min_size=4, max_size=4)
SCOPES = st.sampled_from(Scope)


@settings(max_examples=150)
@given(VALUES, TOKENS, TOKENS, TOKENS, SCOPES, st.integers(0, 3))
def test_penalties_equal_their_definitions(
    logits: list[float], prompt: list[int], output: list[int], drafted: list[int], scope: Scope, last: int
) -> None:
    node, out, given_logits = path(prompt, output, tuple(drafted)), [*output, *drafted], rows(logits)
    seen = slow.in_scope(prompt, out, scope, last)
    steered = Repetition(1.3, scope, last, exempt={1})(given_logits, Nodes([node], given_logits))
    torch.testing.assert_close(steered, rows(slow.repetition(logits, seen, 1.3, frozenset({1}))))
    steered = Frequency(0.7, -0.2)(given_logits, Nodes([node], given_logits))
    torch.testing.assert_close(steered, rows(slow.frequency(logits, out, 0.7, -0.2)))
    assert torch.equal(
        Frequency(0.7, exempt=[0, 3])(given_logits, Nodes([node], given_logits))[0, [0, 3]], given_logits[0, [0, 3]]
    )
    for size in (1, 2, 3):
        banned = slow.completing(slow.in_scope(prompt, out, scope), size)
        removed = {
            token
            for token in range(4)
            if NoRepeat(size, scope)(given_logits, Nodes([node], given_logits))[0, token] == -torch.inf
        }
        assert removed == banned


@pytest.mark.parametrize(
    "make",
    [
        lambda: Repetition(0.0),
        lambda: Repetition(-1.0),
        lambda: Repetition(float("nan")),
        lambda: Repetition(1.1, last=-1),
        lambda: Repetition(1.1, exempt={-1}),
        lambda: Frequency(float("inf")),
        lambda: Frequency(0.0, float("nan")),
        lambda: NoRepeat(-1),
    ],
)
def test_settings_out_of_range_are_refused_with_a_hint(make: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        make()  # type: ignore[operator]
    assert refusal.value.hint
