"""What steers see inside of a model is what a fresh evaluation of the path shows, whoever drafts, beside whatever."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import pytest
import torch

from laws.worlds import LastTwo
from models.families import FAMILIES
from stretto.engine import Engine
from stretto.errors import Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.fast import lean_or_none
from stretto.models.network import Network
from stretto.models.window import Window
from stretto.steer.contract import Stage, Steer
from stretto.steer.pipeline import Pipeline

WANT = Want(hidden=(0, 2), readout=(1,), attention=((0, 1), (2, 3)))
GENERATOR = torch.Generator().manual_seed(0)
READ = torch.randn(32, 97, generator=GENERATOR)


@dataclass(frozen=True, slots=True)
class Inside(Steer):
    """Uses all that it sees, and writes it down."""

    name: ClassVar[str] = "inside"
    stage: ClassVar[Stage] = Stage.CONTRAST
    seen: ClassVar[dict] = {}

    want: Want = WANT

    @property
    def wants(self):
        return self.want

    def __call__(self, logits, nodes):
        moved = logits - 0.4 * nodes.readout[1] + 0.3 * nodes.hidden[2] @ READ
        for at, path in enumerate(nodes.paths):
            tokens = (*path.history.tokens, *path.drafted)
            for head, given in nodes.attention.items():
                moved[at].index_add_(0, torch.tensor(tokens), 6 * given[at, : len(tokens)])
                assert float(given[at, len(tokens) :].abs().sum()) == 0
                self.seen[tokens, head] = given[at, : len(tokens)]
            self.seen[tokens, "readout"] = nodes.readout[1][at]
            self.seen[tokens, "hidden"] = torch.cat([nodes.hidden[0][at], nodes.hidden[2][at]])
        return moved


@cache
def engine(kind):
    module = FAMILIES["qwen2" if kind == "sliding" else "llama"]()
    model = Network(module, "small") if kind == "network" else lean_or_none(module, "small")
    return Engine(model, clock=SimulatedClock())


def fresh(model, tokens):
    """The same of the path by itself, in one window."""
    held = model.new_cache()
    found = model.evaluate(Window.chain([held.open()], [list(tokens)], [0], model.device), held, WANT)
    hidden = torch.cat([found.hidden[0][0, -1], found.hidden[2][0, -1]])
    return {"readout": found.readout[1][0, -1], "hidden": hidden} | {
        head: given[0, -1, : len(tokens)] for head, given in found.attention.items()
    }


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["lean", "network", "sliding"])
def test_each_node_sees_what_its_path_shows(kind, temperature):
    made = engine(kind)
    prompts = [[5, 9, 11, 5, 9], [3], [7, 7, 8]]
    settings = {"steers": [Inside()], "max_new_tokens": 10, "temperature": temperature, "seed": 2, "end_tokens": ()}
    plain = [made.generate(prompt, "plain", **settings).tokens for prompt in prompts]
    assert plain != [made.generate(prompt, "plain", **settings | {"steers": []}).tokens for prompt in prompts]
    Inside.seen.clear()
    for way in ("lookup(matches=3)+fixed(7)", "recycle+fixed(12)", "lookahead"):
        answers = made.generate(prompts, way, samples=2, **settings)
        assert [answer.tokens for answer in answers[::2]] == plain, way
    compared = 0
    for tokens in {tokens for tokens, _ in Inside.seen}:
        for what, expected in fresh(made.model, tokens).items():
            assert torch.allclose(Inside.seen[tokens, what], expected, atol=1e-4), (what, tokens)
            compared += 1
    assert compared > 100


def test_the_wants_of_steers_and_drafter_are_one():
    steers = [Inside(Want(hidden=(2,), readout=(1,))), Inside(Want(hidden=(2, 3), readout=(1,), attention=((2, 3),)))]
    pipeline = Pipeline(steers)
    assert pipeline.wants == Want(False, hidden=(2, 3), readout=(1,), attention=((2, 3),))
    assert Want(hidden=(3, 1)).beside(pipeline.wants) == Want(True, (3, 1, 2), (1,), ((2, 3),))
    assert Want(hidden=(3, 1)).beside(Pipeline().wants) == Want(hidden=(3, 1))
    assert pipeline.guessing == Pipeline() and not pipeline.guessing.aided


@pytest.mark.parametrize(
    ("want", "says"),
    [
        (Want(hidden=(4,)), "layer 4, which llama lacks"),
        (Want(readout=(-1,)), "layer -1, which llama lacks"),
        (Want(attention=((3, 0),)), r"head \(3, 0\), which llama lacks"),
    ],
)
def test_what_the_model_lacks_is_refused(want, says):
    with pytest.raises(Unsupported, match=says):
        engine("lean").generate([1], "lookup", steers=[Inside(want)])


def test_models_and_families_that_hand_nothing_out_refuse():
    tables = Engine(LastTwo(5, 1), clock=SimulatedClock())
    for want, says in ((Want(hidden=(0,)), "needs hidden"), (Want(attention=((0, 0),)), "needs attention")):
        with pytest.raises(Unsupported, match=says):
            tables.generate([1], "plain", steers=[Inside(want)])
    with pytest.raises(Unsupported, match="inside looks inside of the model"):
        engine("lean").generate([1], "entropy(small=zoo/draft)", steers=[Inside()])
