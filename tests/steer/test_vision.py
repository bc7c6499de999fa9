"""Steers that look at pictures: the worked numbers, and what each of their readings sees."""

from __future__ import annotations

import math

import pytest
import torch

from stretto.errors import InvalidRequest, Unsupported
from stretto.generation import Generation, LogProbability
from stretto.laws import inside
from stretto.models.gazes import Agreeing, Dwelling, Otherwise, Scaled, Sighted
from stretto.models.pictures import Picture, Pictured, viewed
from stretto.models.views import TURNS, Levelled, Noised, Outlying, Turned, instead
from stretto.steer.causal_mm import CausalMm
from stretto.steer.cg_vlm import CgVlm
from stretto.steer.contract import Steer
from stretto.steer.damro import Damro
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.rbd import Rbd
from stretto.steer.ritual import Ritual
from stretto.steer.scaling_vis import AdaptVis, ScalingVis
from stretto.steer.taps import Taps
from stretto.steer.vcd import Vcd

L = torch.tensor([[3.0, 2.5, 1.0, -1.0]])
GONE = -math.inf


def steered(step: Steer, *others: list[float]) -> list[float]:
    """The worked logits, where the companions say `others`."""
    said = {each: torch.tensor([other]) for each, other in zip(step.companions, others, strict=True)}
    return step(L, Nodes([Path(History([1]))], L, Taps(companions=said)))[0].tolist()


def picture(at: int = 1) -> Picture:
    return inside.pictured()[0].pictures[0]


def test_vcd_by_hand() -> None:
    found = steered(Vcd(1.0, 0.1), [3.2, 1.5, 0.8, -3.0])
    assert found == pytest.approx([2.8, 3.5, 1.2, GONE])
    assert torch.tensor(found).softmax(-1).tolist() == pytest.approx([0.311, 0.6262, 0.0628, 0.0], abs=1e-4)
    assert steered(Vcd(1.0, 0.1), L[0].tolist()) == pytest.approx([3.0, 2.5, 1.0, GONE])


def test_ritual_by_hand() -> None:
    found = steered(Ritual(), [2.0, 3.0, 0.5, -2.0])
    assert found == pytest.approx([9.0, 11.5, 2.5, GONE])
    assert torch.tensor(found).softmax(-1).tolist() == pytest.approx([0.0758, 0.9241, 0.0001, 0.0], abs=1e-4)
    alike = torch.tensor(steered(Ritual(share=0.0), L[0].tolist()))
    assert torch.allclose(alike.softmax(-1), (4 * L[0]).softmax(-1))  # at a temperature of a quarter


def test_causal_mm_by_hand() -> None:
    assert steered(CausalMm(0.5), [3.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 0.0]) == pytest.approx([3.5, 3.5, 0.5, GONE])


def test_rbd_keeps_the_scale_of_logits() -> None:
    same = L[0].tolist()
    assert steered(Rbd(share=0.0), same, same) == pytest.approx(same)
    assert steered(Rbd(1.0, 0.5, 0.0), [0.0] * 4, [4.0, 0.0, 0.0, 0.0]) == pytest.approx([6.5, 3.75, 1.5, -1.5])


@pytest.mark.parametrize("form", ["random", "uniform", "reversed", "shuffled"])
def test_counterfactual_attention_adds_up_and_sees_nothing_that_comes_later(form: str) -> None:
    own = torch.randn(2, 6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), GONE).softmax(-1)
    other = instead(form, own, torch.rand(2, 6, 6))  # type: ignore[arg-type]
    assert torch.allclose(other.sum(-1), torch.ones(2, 6)) and float(other.triu(1).abs().max()) == 0
    assert not torch.allclose(other, own)
    if form == "shuffled":
        assert torch.allclose(other.sort(-1).values, own.sort(-1).values)
    if form == "reversed":
        assert int(other[0, 5].argmax()) == int(own[0, 5].argmin())


def test_damro_hears_of_a_few_rows_in_a_shorter_prompt() -> None:
    prompt, (shown,) = inside.pictured()[1].prompt, inside.pictured()[1].pictures
    (companion,) = Damro(most=3).companions
    tokens, (few,) = viewed(prompt, [shown], companion.view)
    assert len(tokens) == len(prompt) - (16 - 3) and tokens == [3, 0, 0, 0, 3] and few.span == range(1, 4)
    salience = shown.encoder.salience(shown.pixels)  # type: ignore[union-attr,attr-defined]
    assert torch.equal(few.rows, shown.rows[sorted(salience.topk(3).indices.tolist())])
    every = viewed(prompt, [shown], Outlying(16))[1][0]
    assert torch.equal(every.rows, shown.rows)
    told = [
        inside.answers(step, "fast")[1].tokens for step in (None, Damro(9.0, 0.0, most=16), Damro(9.0, 0.0, most=1))
    ]
    assert inside.answers(None, "fast", asked=Damro())[1].tokens == told[1] != told[2]


def test_noise_follows_the_schedule_and_is_drawn_once() -> None:
    shown = picture()
    none, some, most = (Noised(at)(shown).pixels for at in (0, 500, 999))
    assert none is not None and some is not None and most is not None and shown.pixels is not None
    assert torch.allclose(none, shown.pixels, atol=0.05)
    assert torch.equal(Noised(500)(shown).rows, Noised(500)(shown).rows)
    assert not torch.equal(Noised(500)(shown).rows, Noised(500, seed=1)(shown).rows)
    far = [float((each - shown.pixels).std()) for each in (none, some, most)]
    assert far[0] < far[1] < far[2] and float(most.std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("by", TURNS)
def test_each_transformation_changes_the_pixels_and_keeps_their_shape(by: str) -> None:
    shown = picture()
    turned = Turned(by)(shown)  # type: ignore[arg-type]
    assert turned.pixels is not None and shown.pixels is not None
    assert turned.pixels.shape == shown.pixels.shape and turned.pixels.isfinite().all()
    assert not torch.allclose(turned.pixels, shown.pixels, atol=1e-3)
    assert len({Turned("any", seed)(shown).digest for seed in range(12)}) > 5


def mass(by: float, scores: list[float], added: bool = False) -> float:
    """What a query reads of the first two keys, which are a picture's."""
    gaze = Scaled(by=by, added=added, sighted=Sighted(((0, 2),), last=3))
    found = gaze.scores(0, torch.tensor(scores).view(1, 1, 1, 4), torch.tensor([[3]]), torch.arange(4)[None])
    return float(found.softmax(-1)[..., :2].sum())


def test_scaling_by_hand() -> None:
    scores = [2.0, 1.0, -1.0, 0.0]
    assert [mass(by, scores) for by in (1.0, 0.5, 1.5)] == pytest.approx([0.8808, 0.7615, 0.9473], abs=1e-4)
    below = [-2.0, -1.0, -1.0, 0.0]
    assert [mass(by, below) for by in (1.0, 1.5)] == pytest.approx([0.2689, 0.1663], abs=1e-4)  # multiplying takes away
    assert mass(1.5, below, added=True) > mass(1.0, below)
    other = Scaled(by=9.0, sighted=Sighted(((0, 2),), last=7))
    told = torch.tensor(scores).view(1, 1, 1, 4)
    assert torch.equal(other.scores(0, told, torch.tensor([[3]]), torch.arange(4)[None]), told)  # another query's


def test_adapt_vis_looks_away_where_the_first_answer_is_unsure() -> None:
    def first(p: float) -> Generation:
        told = [LogProbability(1, math.log(p), math.log(p), [], [])]
        return Generation("", [1], "length", [1], log_probabilities=told)

    assert AdaptVis()(first(0.3)) == ScalingVis(0.5) and AdaptVis()(first(0.5)) == ScalingVis(1.5)
    with pytest.raises(InvalidRequest, match="no probability"):
        AdaptVis()(Generation("", [1], "length", [1]))
    answer = inside.answers(None, "fast", asked=ScalingVis(), max_new_tokens=1)[0]
    assert AdaptVis(threshold=1.0)(answer) == ScalingVis(0.5)


def test_dwelling_and_agreeing_gazes() -> None:
    scores = torch.randn(1, 2, 1, 5)
    places = torch.tensor([[4]]), torch.arange(5)[None]
    seen = Sighted(((1, 4),), (2,), 4)
    plain = scores.softmax(-1)
    only = Dwelling(only=True, sighted=seen).scores(0, scores, *places).softmax(-1)
    assert float(only[..., [1, 3]].sum()) == 0 and torch.allclose(only.sum(-1), torch.ones(1, 2, 1))
    twice = Dwelling(by=2.0, sighted=seen).scores(0, scores, *places).softmax(-1)
    assert torch.allclose(twice[..., 2] / twice[..., 0], 2 * plain[..., 2] / plain[..., 0])
    assert torch.allclose(Agreeing(by=0.0, sighted=seen).scores(0, scores, *places).softmax(-1), plain)
    agreed = Agreeing(by=1.0, sighted=seen).scores(0, scores, *places).exp()
    assert torch.allclose(agreed[:, 0, :, 1:4], agreed[:, 1, :, 1:4])


def test_random_attention_is_the_same_whoever_stands_beside() -> None:
    gaze = Otherwise(form="random", seed=3)
    alone = gaze.scores(1, torch.zeros(1, 2, 1, 3), torch.tensor([[5]]), torch.tensor([[0, 1, 5]]))
    beside = gaze.scores(1, torch.zeros(1, 2, 2, 4), torch.tensor([[4, 5]]), torch.tensor([[0, 1, 4, 5]]))
    ratio = alone.exp()[..., 0] / alone.exp()[..., 1]
    assert torch.allclose(ratio[0, :, 0], (beside.exp()[..., 0] / beside.exp()[..., 1])[0, :, 1])


def test_without_a_picture_or_what_it_is_made_of_they_are_refused() -> None:
    made = inside.engine("fast")
    for step in (Vcd(), ScalingVis(2.0), CausalMm(vision=False)):
        with pytest.raises(InvalidRequest, match="has none"):
            made.generate([1, 2, 3], "plain", steers=[step])
    rows = Pictured([1, 0, 0, 2], [Picture(torch.ones(2, inside.CHANNELS), at=1)])
    for step in (Vcd(), Ritual(), Damro(), CausalMm(), Rbd(0.0)):
        with pytest.raises(Unsupported, match="picture"):
            made.generate(rows, "plain", steers=[step])
    assert torch.equal(Levelled()(picture()).rows.std(0), torch.zeros(inside.CHANNELS))


def cg(step: CgVlm, agreed: float, *values: float) -> tuple[float, list[float]]:
    """The interaction of values of the best of two tokens (with both, picture, text, neither), and the logits."""

    def of(p: float) -> torch.Tensor:
        return torch.tensor([[p, 1 - p]]).log()

    said = dict(zip(step.companions, map(of, (agreed, *values[1:])), strict=True))
    nodes = Nodes([Path(History([1]))], of(values[0]), Taps(companions=said))
    return float(step.interaction(nodes)), step(nodes.raw, nodes)[0].exp().tolist()


def test_cg_vlm_by_hand() -> None:
    step = CgVlm(value="probability", threshold=0.2)
    found, steered = cg(step, 0.1, 0.7, 0.3, 0.2, 0.1)
    assert found == pytest.approx(0.30) and steered == pytest.approx([0.1, 0.9])
    assert cg(CgVlm(value="probability", threshold=0.4), 0.1, 0.7, 0.3, 0.2, 0.1)[1] == pytest.approx([0.7, 0.3])
    found, steered = cg(CgVlm(), 0.1, 0.7, 0.3, 0.7, 0.3)  # the picture is nothing to it
    assert found == pytest.approx(0.0, abs=1e-6) and steered == pytest.approx([0.7, 0.3])


def test_a_mute_reading_has_pictures_and_both_ends_of_the_prompt() -> None:
    shown = inside.pictured()[0]
    prompt = shown.prompt
    tokens, (seen,) = viewed(prompt, shown.pictures, None, mute=True)
    assert tokens == [prompt[0], *[0] * 16, prompt[-1]] and seen.span == range(1, 17)
    assert viewed([5, 6, 7], (), None, mute=True)[0] == [5, 7]
