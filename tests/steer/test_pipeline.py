"""The pipeline: its order, what greedy leaves out, and that no row ends up empty."""

from __future__ import annotations

import random

import pytest
import torch

from stretto.errors import InvalidRequest
from stretto.steer.allow import Allow
from stretto.steer.ban import Ban, MinTokens
from stretto.steer.bias import Bias
from stretto.steer.contract import Stage, Steer
from stretto.steer.epsilon import Epsilon, Eta
from stretto.steer.frequency import Frequency
from stretto.steer.min_p import MinP
from stretto.steer.no_repeat import NoRepeat
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK
from stretto.steer.top_p import TopP
from stretto.steer.typical import Typical

NODE = [Path(History([0, 1, 0, 1]))]
LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0]])
INF = torch.inf

IN_ORDER = [
    Frequency(0.5),
    Allow([0, 1, 2]),
    Temperature(0.7),
    TopK(3),
    TopP(0.9),
    MinP(0.1),
    Typical(0.95),
    Epsilon(0.01),
    Eta(0.01),
]


def test_steps_are_sorted_by_stage_whatever_the_order_given() -> None:
    given = IN_ORDER.copy()
    random.Random(0).shuffle(given)
    assert Pipeline(given) == Pipeline(IN_ORDER)
    assert list(Pipeline(given).steps) == IN_ORDER
    assert hash(Pipeline(given)) == hash(Pipeline(IN_ORDER))
    assert sorted(Stage) == list(Stage)


def test_within_a_stage_the_given_order_holds() -> None:
    one, other = Bias(((0, 1.0),)), Repetition(2.0)
    assert Pipeline([one, other])(Nodes(NODE, LOGITS))[0, 0] == 1.5
    assert Pipeline([other, one])(Nodes(NODE, LOGITS))[0, 0] == 2.0


def test_neutral_steps_drop_out() -> None:
    neutral = [Repetition(1.0), Ban(), Allow(), Temperature(1.0), TopK(0), TopP(1.0), Typical(1.0), MinTokens([0], 0)]
    assert Pipeline(neutral) == Pipeline()
    assert Pipeline(neutral)(Nodes(NODE, LOGITS)) is LOGITS


def test_mask_comes_before_truncation() -> None:
    """The nucleus of 0.1 is token 0, which is not allowed; truncating first would leave nothing."""
    steered = Pipeline([TopP(0.1), Allow([1, 3]), Repetition(1.2)])(Nodes(NODE, LOGITS))
    assert (steered > -INF).tolist() == [[False, True, False, False]]


def test_temperature_comes_before_truncation() -> None:
    cold = Pipeline([TopP(0.8), Temperature(0.1)])(Nodes(NODE, LOGITS))
    hot = Pipeline([TopP(0.8), Temperature(10.0)])(Nodes(NODE, LOGITS))
    assert (cold > -INF).sum() == 1
    assert (hot > -INF).sum() == 4


def test_greedy_is_the_best_after_penalties_and_mask() -> None:
    logits = torch.tensor([[0.50, 0.25, 0.15, 0.07, 0.03]]).log()
    steps = [Typical(0.2), TopK(1), Temperature(0.5)]  # typical alone would drop token 0
    greedy = Pipeline([*steps, Temperature(0.0)])
    assert greedy.greedy
    assert greedy.plain
    assert greedy == Pipeline([Temperature(0.0)])
    assert greedy(Nodes(NODE, logits)) is logits
    shaped = Pipeline([*steps, Temperature(0.0), Ban([0])])
    assert shaped.greedy
    assert not shaped.plain
    assert shaped(Nodes(NODE, logits)).argmax() == 1


def test_flags() -> None:
    assert not Pipeline().greedy
    assert not Pipeline().plain
    assert Pipeline([Temperature(0.5), TopP(0.5), Bias(((1, 1.0),))]).pointwise
    assert not Pipeline([Temperature(0.5), Frequency(1.0)]).pointwise
    assert not Pipeline([Temperature(0.5), MinTokens([0], 3)]).pointwise


def test_a_mask_wins_over_bans() -> None:
    """Every allowed token is banned: the allowed one that the model likes best stays, and it alone."""
    for bans in ([Ban([1, 2])], [NoRepeat(1), Ban([2])]):
        steered = Pipeline([*bans, Allow([1, 2])])(Nodes(NODE, LOGITS))
        assert steered.tolist() == [[-INF, 1.0, -INF, -INF]]


def test_where_everything_is_banned_the_best_token_stays() -> None:
    assert Pipeline([Ban(range(4))])(Nodes(NODE, LOGITS)).tolist() == [[2.0, -INF, -INF, -INF]]


def test_only_empty_rows_are_revived() -> None:
    history = History([0])
    nodes = [Path(history), Path(history, (1,)), Path(history, (1, 2))]
    steered = Pipeline([NoRepeat(1), Allow([1, 2])])(Nodes(nodes, LOGITS.expand(3, -1)))
    assert steered.tolist() == [[-INF, 1.0, 0.5, -INF], [-INF, -INF, 0.5, -INF], [-INF, 1.0, -INF, -INF]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    """4096 equal tokens: a running sum in half precision gets stuck long before the mass of a half."""
    logits = torch.zeros(1, 4096, dtype=dtype)
    steered = Pipeline([TopP(0.5)])(Nodes(NODE, logits))
    assert steered.dtype == torch.float32
    assert int((steered > -INF).sum()) == 2048
    assert Pipeline([Temperature(0.5)])(Nodes(NODE, LOGITS.double())).dtype == torch.float64


@pytest.mark.parametrize(
    "step",
    [
        Ban([4]),
        Allow([4]),
        Bias(((4, 1.0),)),
        MinTokens([4], 1),
        Repetition(1.1, exempt=[4]),
        Frequency(1.0, exempt=[4]),
        NoRepeat(2, exempt=[4]),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(step: Steer) -> None:
    pipeline = Pipeline([step])
    pipeline.check(5)
    with pytest.raises(InvalidRequest, match="names token 4"):
        pipeline.check(4)
