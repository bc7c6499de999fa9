"""Grounded decoding against its definition in plain Python, and what is never said under it."""

from __future__ import annotations

import math

import pytest
import torch

from steer.slow import NONE, by_likelihood
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.parts import describe_part, read_part
from stretto.steer.grounded import Grounded
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path

PICK, RED, BLUE, BLOCK, BOWL, END = range(6)
SKILLS = (((PICK, RED, BLOCK, END), 0.9), ((PICK, RED, BOWL, END), 0.0), ((PICK, BLUE, BOWL, END), 0.3))


def worth(answer: tuple[int, ...]) -> float:
    """By trying each skill token by token."""
    found = 0.0
    for skill, value in SKILLS:
        if all(said == meant for said, meant in zip(answer, skill, strict=False)):
            found = max(found, value)
    return found


@pytest.mark.parametrize(("step", "value"), [(Grounded(SKILLS, 0.7, 4), worth), (Grounded(lambda a: 1 / len(a)), None)])
def test_grounded(step, value):
    value = value or step.grounding
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for at, row in enumerate(rows.tolist()):
        answer = tuple([PICK, RED, BLOCK, BLUE][: at % 5])
        history = History([END, BLUE])
        history.extend(answer[:2])
        logits = torch.tensor([row], dtype=torch.float64)
        found = step(logits, Nodes([Path(history, answer[2:])], logits))[0].tolist()
        for token in range(6):
            gain = step.by * math.log(max(value((*answer, token)), 1e-6))
            assert found[token] == pytest.approx(
                row[token] + gain if token in by_likelihood(row)[: step.among] else NONE
            )


def test_by_hand():
    """And a world that likes everything alike changes nothing."""
    logits = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    nodes = Nodes([Path(History([0]))], logits)
    liked = Grounded((((0,), 0.05), ((1,), 0.7), ((2,), 0.9)))(logits, nodes).softmax(-1)[0].tolist()
    assert liked == pytest.approx([0.0909, 0.6364, 0.2727], abs=1e-4)
    assert Grounded(lambda answer: 0.5)(logits, nodes).softmax(-1)[0].tolist() == pytest.approx([0.6, 0.3, 0.1])


def test_a_forbidden_object_is_never_completed_whoever_drafts():
    """It shares its first words with one that is allowed, and the model likes it best."""
    model = TableModel(6, lambda path: [2.0 if token in (PICK, RED, BOWL) else 0.0 for token in range(6)])
    engine = Engine(model, clock=SimulatedClock())
    settings = {"temperature": 1.0, "seed": 3, "samples": 60, "max_new_tokens": 4, "end_tokens": (END,)}
    free = engine.generate([END], **settings)
    assert any(answer.tokens[:3] == [PICK, RED, BOWL] for answer in free)
    grounded = [engine.generate([END], way, steers=[Grounded(SKILLS)], **settings) for way in ("plain", "lookup")]
    assert [answer.tokens for answer in grounded[0]] == [answer.tokens for answer in grounded[1]]
    said = {tuple(answer.tokens) for answer in grounded[0]}
    assert said == {SKILLS[0][0], SKILLS[2][0]}


def test_its_text_form_and_its_range():
    assert read_part(describe_part(Grounded(SKILLS, 0.5))) == Grounded(SKILLS, 0.5)
    for make in (
        lambda: Grounded(()),
        lambda: Grounded((((), 0.5),)),
        lambda: Grounded((((1,), 1.5),)),
        lambda: Grounded(SKILLS, -1.0),
        lambda: Grounded(SKILLS, among=0),
    ):
        with pytest.raises(InvalidRequest):
            make()
    logits = torch.zeros(1, 6)
    with pytest.raises(InvalidRequest, match="grounding"):
        Grounded(lambda answer: 2.0)(logits, Nodes([Path(History([0]))], logits))
