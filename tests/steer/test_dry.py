"""DRY against its definition, by trying every run there is."""

from __future__ import annotations

import itertools

import pytest
import torch

from stretto.errors import InvalidRequest
from stretto.steer.dry import Dry
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path

V = 3


def penalties(steer: Dry, prompt: list[int], output: list[int], vocabulary: int = V) -> list[float]:
    logits = torch.zeros(1, vocabulary, dtype=torch.float64)
    history = History(prompt)
    history.extend(output)
    return (-steer(logits, Nodes([Path(history)], logits)))[0].tolist()


def slow(tokens: list[int], steer: Dry, vocabulary: int = V) -> list[float]:
    """The definition: the longest run without a breaker that the text ends in and that the token has followed."""
    tokens = tokens[-steer.last :] if steer.last else tokens
    found = [0.0] * vocabulary
    for token, length in itertools.product(range(vocabulary), range(steer.allowed, len(tokens))):
        run = tokens[-length:]
        if set(run) & steer.breakers or token in steer.breakers:
            continue
        starts = range(len(tokens) - length)
        if any([*run, token] == tokens[start : start + length + 1] for start in starts):
            found[token] = steer.multiplier * steer.base ** min(length - steer.allowed, steer.longest - steer.allowed)
    return found


STEERS = [
    Dry(1.0, 2.0, allowed=1),
    Dry(0.5, 1.5, allowed=2),
    Dry(0.5, 3.0, allowed=1, last=5),
    Dry(1.0, 2.0, allowed=1, breakers={2}),
    Dry(1.0, 1.0, allowed=1),
]


@pytest.mark.parametrize("steer", STEERS, ids=repr)
def test_every_text_of_seven_tokens(steer: Dry) -> None:
    """Half of it prompt; in another world all of it is. Texts that begin otherwise are these with tokens renamed."""
    for text in itertools.product({0} | steer.breakers, *[range(V)] * 6):
        tokens = list(text)
        expected = slow(tokens, steer)
        assert penalties(steer, tokens[:4], tokens[4:]) == pytest.approx(expected), tokens
        if tokens[0] == 0:
            assert penalties(steer, tokens, []) == pytest.approx(expected), tokens


def test_runs_by_hand() -> None:
    """a b c c b c y a b c: after it, c would go on with three tokens, y with two, b with one."""
    a, b, c, y = range(4)
    text = [a, b, c, c, b, c, y, a, b, c]
    assert penalties(Dry(1.0, 2.0, allowed=1), text, [], 4) == [0, 1, 4, 2]
    assert penalties(Dry(1.0, 2.0), text, [], 4) == [0, 0, 2, 1]
    assert penalties(Dry(1.0, 2.0, breakers={a}), text, [], 4) == [0, 0, 1, 1]  # no run goes beyond the last a
    assert penalties(Dry(1.0, 2.0, breakers={c}), text, [], 4) == [0, 0, 0, 0]


def test_the_penalty_of_an_endless_run_is_finite() -> None:
    steer = Dry(1.0, 10.0)
    assert steer.longest == 2 + 38
    for prompt, output in (([1] * 90, []), ([1], [1] * 89)):
        assert penalties(steer, prompt, output) == pytest.approx([0, 1e38, 0])


@pytest.mark.parametrize("make", [lambda: Dry(-1), lambda: Dry(base=0.5), lambda: Dry(allowed=0), lambda: Dry(last=-1)])
def test_out_of_range(make) -> None:
    with pytest.raises(InvalidRequest):
        make()
