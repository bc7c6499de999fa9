"""Heads learnt from judged answers: they tell right from wrong on answers that they were not trained on."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
import torch

from stretto import cli, zoo
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.laws.inside import VOCABULARY, engine
from stretto.models.head import Head
from stretto.train.judged import Judged
from stretto.train.rewards import Seen, next_head, observed, process_head, reward_head, value_head

END, BAD = 0, 3  # an answer that ends with 3 is wrong


def drawn(count: int, seed: int) -> list[Judged]:
    """Four answers to each prompt, of which one is right and some are wrong."""
    chance, found = random.Random(seed), list[Judged]()
    for at in range(count):
        prompt = tuple(chance.choices(range(10, VOCABULARY), k=4)) if at % 4 == 0 else found[-1].prompt
        body = chance.choices(range(4, 10), k=chance.randint(2, 4))
        end = BAD if at % 4 and chance.random() < 0.7 else END
        found.append(Judged("made-up", prompt, (*body, end), float(end == END)))
    return found


@cache
def seen(seed: int) -> Seen:
    return observed(engine("fast"), drawn(240, seed), layers=(1, 2, 3))


def apart(head: Head, of: Seen, places: torch.Tensor, truth: torch.Tensor) -> float:
    """The area under the curve."""
    rows = of.rows[places].float().split(32, -1)
    said = head(dict(zip(of.layers, rows, strict=True)))[:, 0]
    above, below = said[truth > 0.5], said[truth < 0.5]
    return float((above[:, None] > below).double().mean())


@pytest.mark.parametrize("train", [value_head, reward_head, process_head])
def test_heads_tell_right_from_wrong_where_they_were_not_trained(train) -> None:
    head, other = train(seen(1), passes=30), seen(2)
    places = other.last.nonzero()[:, 0]
    assert apart(head, other, places, other.reward[places]) > 0.85


def test_what_is_sound_is_where_a_right_answer_begins() -> None:
    answers = [Judged("", (1, 2), (5, 6, 0), 1.0), Judged("", (1, 2), (5, 7, 0), 0.0), Judged("", (9,), (5, 0), 0.0)]
    found = observed(engine("fast"), answers)
    lines = list(zip(found.question.tolist(), found.following.tolist(), found.sound.tolist(), strict=True))
    assert lines[:3] == [(1, 5, 0), (1, 0, 0), (1, -1, 0)]
    assert lines[3:] == [(0, 5, 1), (0, 6, 1), (0, 0, 1), (0, -1, 1), (0, 5, 1), (0, 7, 1), (0, 0, 0), (0, -1, 0)]
    assert found.layers == (2, 3) and found.rows.shape == (11, 64)


def test_values_of_next_tokens_are_low_for_the_one_that_spoils_an_answer() -> None:
    head, other = next_head(seen(1), passes=150), seen(2)
    places = ((other.following == END) | (other.following == BAD)).nonzero()[:, 0]
    said = head(dict(zip(other.layers, other.rows[places].float().split(32, -1), strict=True)))
    assert head.outputs == VOCABULARY
    assert float(said[:, BAD].mean()) < 0.3 < 0.6 < float(said[:, END].mean())


def test_mistakes_of_an_earlier_head_count_twice(monkeypatch) -> None:
    sizes = []
    monkeypatch.setattr(
        "stretto.train.rewards._fitted", lambda seen, examples, *rest, **named: sizes.append(len(examples))
    )
    for earlier in (
        None,
        Head({"layers": [1, 2, 3], "enter": [[0.0] * 96], "bias": [0], "leave": [[0]], "level": [0]}),
    ):
        reward_head(seen(1), earlier)
    assert sizes[1] == 2 * sizes[0], "one that prefers nothing is wrong of all pairs"


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no answers"):
        observed(engine("fast"), [])
    with pytest.raises(InvalidRequest, match="no prompt has both"):
        reward_head(observed(engine("fast"), [Judged("", (1, 2), (5, 0), 1.0), Judged("", (2, 2), (5, 0), 0.0)]))


def test_the_command_leaves_four_heads_that_methods_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    asked = ["--kinds", "sorting", "--count", "6", "--samples", "3"]
    assert cli.main(["train", "rewards", "--out", str(tmp_path / "heads"), *asked]) == 0
    said = capsys.readouterr().out
    assert said.startswith("18 answers, ") and "best-of(8,value(" in said
    model = Engine.load("zoo/causal").model
    for name, outputs in (("value", 1), ("process", 1), ("reward", 1), ("next", model.vocabulary)):
        head = Head.named(tmp_path / "heads" / f"{name}.safetensors")
        assert head.outputs == outputs
        head.check(model)
    assert cli.main(["train", "rewards", "--out", str(tmp_path), "--kinds", "sortings"]) == 2
    assert "no gym task 'sortings'" in capsys.readouterr().err
