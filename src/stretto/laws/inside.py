"""Laws of steers that look inside of a model or edit its rows, on a small random network as each path drives it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from ..engine import Engine
from ..errors import Unsupported
from ..generation import Generation
from ..models.bitwise import Bitwise
from ..models.clock import SimulatedClock
from ..models.contract import Ability
from ..models.fast import lean_or_none
from ..models.kernel_choice import Wish
from ..models.lean import Lean
from ..models.network import Network
from ..models.patch_encoder import PatchEncoder, PatchSight, Sizes
from ..models.pictures import Picture, Pictured
from ..steer.contract import Steer

VOCABULARY = 97
CHANNELS = 32  # of 3 layers and 4 heads
DRIVEN = ("fast", "bits", "blocks", "driven")  # its layers as the fast path computes them, in exact bits, drawn in
# blocks, the module's own
WISHES = {"bits": (Wish(bits=True), Bitwise), "blocks": (Wish(form="int8"), Lean)}
WAYS = ("lookup(matches=3)+fixed(7)", "recycle+fixed(12)", "lookahead")
PROMPTS = ((5, 9, 11, 5, 9, 11, 7), (3,), (7, 7, 8, 2))
SETTINGS: dict[str, Any] = {"max_new_tokens": 8, "end_tokens": (), "log_probabilities": 0}


def looks_inside(step: Steer) -> bool:
    """Whether a steer is one of these; others are tried on tables."""
    return step.wants.inside or bool(step.edits) or step.sees


@cache
def pictured() -> tuple[Pictured, ...]:
    """The prompts, with pictures among their tokens, by an encoder of random weights."""
    torch.manual_seed(1)
    sight = PatchSight(PatchEncoder(Sizes(side=16, channels=16, heads=2, rows=CHANNELS, labels=4)).eval())
    pixels = torch.rand(len(PROMPTS), 3, 16, 16)
    return tuple(
        Pictured([*prompt[:1], *[0] * 16, *prompt], [Picture.of(each, sight, at=1)])
        for prompt, each in zip(PROMPTS, pixels, strict=True)
    )


def prompts(step: Steer | None) -> list[Any]:
    """What a steer is asked with."""
    return list(pictured()) if step is not None and step.sees else [list(prompt) for prompt in PROMPTS]


def served(step: Steer, driven: str) -> bool:
    """Whether the path takes the steer; whoever changes attention is refused where it is computed in one piece."""
    edits = [*step.edits, *(edit for each in step.companions for edit in each.edits)]
    return step.idle or Ability.GAZES in engine(driven).model.abilities or not any(edit.gazes for edit in edits)


@cache
def engine(driven: str) -> Engine:
    """A network of random weights, the same each time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=CHANNELS,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        head_dim=16,
        max_position_embeddings=128,
        initializer_range=0.15,
    )
    module = LlamaForCausalLM(config).eval()
    reasons: list[str] = []
    wish, build = WISHES.get(driven, (Wish(), Lean))
    model = Network(module, "small") if driven == "driven" else lean_or_none(module, reasons.append, wish, build)
    assert model is not None, reasons
    return Engine(model, clock=SimulatedClock())


def answers(
    step: Steer | None, driven: str, way: str = "plain", asked: Steer | None = None, **settings: Any
) -> list[Generation]:
    """To each prompt by itself: those of `asked`, or of the steer."""
    given = SETTINGS | settings | {"steers": [] if step is None else [step]}
    return [engine(driven).generate(prompt, way, **given) for prompt in prompts(asked or step)]


def it_is_refused(step: Steer, driven: str) -> None:
    """Before any work, where the path does not take it."""
    try:
        answers(step, driven)
    except Unsupported:
        return
    raise AssertionError(f"{step} is taken where it cannot be")


def neutral_is_bit_identical_and_the_rest_reshapes(step: Steer, driven: str) -> None:
    """`idle` says whether tokens and what they were chosen from are those without the steer."""
    with_it, without = answers(step, driven), answers(None, driven, asked=step)
    same = [
        one.tokens == two.tokens and _steered(one) == _steered(two) for one, two in zip(with_it, without, strict=True)
    ]
    assert all(same) == step.idle
    assert all(torch.tensor(_steered(each)).isfinite().all() for each in with_it)


def drafts_and_batches_change_no_token(
    step: Steer, driven: str, others: Sequence[Steer], temperature: float, ways: Sequence[str] = WAYS
) -> None:
    """Plain decoding's tokens, whoever drafts, beside rows with other steers, again and in samples; where the model
    computes bits, the bits."""
    settings = SETTINGS | {"temperature": temperature, "seed": 2}
    plain = [_told(answer) for answer in answers(step, driven, **settings)]
    made = engine(driven)
    for way in ways:
        others = [other for other in others if served(other, driven)]
        handles = [made.submit(prompts(other)[0], way, steers=[other], **settings) for other in others]
        found = made.generate(prompts(step), way, samples=2, steers=[step], **settings)
        assert [_told(answer) for answer in found[::2]] == plain, way
        for other, handle in zip(others, handles, strict=True):
            alone = made.generate(prompts(other)[0], "plain", steers=[other], **settings)
            assert _told(handle.result()) == _told(alone), (way, other)


def _told(answer: Generation) -> tuple[list[int], list[float]]:
    """The tokens, and what they were chosen with where that is the same in every bit."""
    return answer.tokens, _steered(answer) if answer.numbers["bits"] else []


def _steered(answer: Generation) -> list[float]:
    """The log-probabilities that the tokens were chosen with."""
    return [each.steered for each in answer.log_probabilities or ()]
