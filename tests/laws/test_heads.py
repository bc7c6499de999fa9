"""The laws of heads, tried on each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stretto import catalogue
from stretto.engine import Engine
from stretto.errors import Unsupported
from stretto.laws import heads, inside
from stretto.method import complete, parse
from stretto.models.around import Around
from stretto.models.contract import Want
from stretto.models.heads.contract import Around as Target
from stretto.models.heads.contract import LayerHead, Memory, RowHead
from stretto.models.heads.files import KINDS, write_head
from stretto.models.heads.jakiro import Jakiro, JakiroMemory
from stretto.models.heads.medusa import Medusa, MedusaMemory
from stretto.models.window import Window
from stretto.speculate.drafters.fuse import Auto
from stretto.speculate.loop import Speculate
from stretto.train.heads.recording import Recording, layers_of, rows_of
from stretto.train.heads.simulate import simulated

ROWS = [kind for kind, head in KINDS.items() if issubclass(head, RowHead)]
LAYERS = [kind for kind, head in KINDS.items() if issubclass(head, LayerHead)]


@pytest.mark.parametrize("kind", ROWS)
def test_training_leads_as_serving_does(kind: str) -> None:
    heads.training_leads_as_serving_does(heads.random_head(kind))


@pytest.mark.parametrize("driven", ["fast", "bits", "blocks"])
@pytest.mark.parametrize("kind", LAYERS)
def test_training_reads_as_serving_does(kind: str, driven: str) -> None:
    heads.training_reads_as_serving_does(heads.random_head(kind), driven)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_fresh_adapter_says_what_the_layers_before_it_say(kind: str) -> None:
    model = inside.engine("fast").model
    small = heads.fresh_head(kind, torch.Generator()).beside(model)
    caches = [each.new_cache() for each in (model, small)]
    windows = [Window.chain([cache.open()], [PROMPT[:9]], [0], model.device) for cache in caches]
    rows = model.evaluate(windows[0], caches[0], Want(logits=False, hidden=(1,))).hidden[1]
    said = small.evaluate(windows[1], caches[1]).logits
    torch.testing.assert_close(said, model.read_out(rows), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_adapter_of_other_heads_or_too_few_layers_is_refused(kind: str) -> None:
    model = inside.engine("fast").model
    for settings, said in (({"num_attention_heads": 2}, "2 attention heads"), ({"exit_layer": 3}, "no such exit")):
        given = KINDS[kind].suiting(model, 4) | settings
        with pytest.raises(Unsupported, match=said):
            KINDS[kind].fresh(inside.CHANNELS, inside.VOCABULARY, 3, torch.Generator(), **given).beside(model)


@pytest.mark.parametrize("kind", ROWS)
def test_pieces_and_copies_change_nothing(kind: str) -> None:
    heads.pieces_and_copies_change_nothing(heads.random_head(kind))


@pytest.mark.parametrize("kind", ROWS)
def test_rows_together_are_rows_alone(kind: str) -> None:
    heads.rows_together_are_rows_alone(heads.random_head(kind))


@pytest.mark.parametrize("drafter", heads.methods(heads.random_head("medusa")))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_changes_no_token(kind: str, drafter: str, temperature: float) -> None:
    heads.it_changes_no_token(heads.random_head(kind), drafter, temperature=temperature, seed=3)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_beyond_all_bounds_change_no_token(kind: str) -> None:
    heads.it_changes_no_token(heads.random_head(kind, scale=1e25), "draft-tree")


@pytest.mark.parametrize(("drafter", "temperature"), [("draft", 0.0), ("draft-tree", 1.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_simulated_is_what_is_served(kind: str, drafter: str, temperature: float) -> None:
    """To the last count: rounds, drafted, accepted, by depth."""
    engine = inside.engine("bits")
    head = heads.random_head(kind, scale=0.05)
    layers = layers_of(head, engine.model)
    method = heads.methods(head)[drafter]
    request: dict[str, Any] = {"temperature": temperature, "seed": 8, "end_tokens": ()}
    texts, served = [], []
    for prompt in heads.PROMPTS:
        answer = engine.generate(list(prompt), method, max_new_tokens=20, **request)
        tokens = (*answer.prompt_tokens, *answer.tokens)
        (rows,) = rows_of(engine.model, [tokens[:-1]], layers)
        texts.append(Recording(tokens, len(answer.prompt_tokens), layers, rows))
        served.append(answer)
    found = simulated(engine, texts, method, **request)
    assert found.rounds == sum(answer.counters.rounds for answer in served)
    assert found.drafted == sum(answer.counters.drafted for answer in served)
    assert found.accepted == sum(answer.counters.accepted for answer in served) > 0
    assert found.new_tokens == sum(len(answer.tokens) for answer in served)
    assert found.by_depth[1].hits <= found.by_depth[1].tried <= found.rounds


def test_of_the_last_depth_jakiro_evaluates_nothing() -> None:
    """What follows its nodes are the second rows of their parents; the weightier expert counts less the other one."""
    head = heads.random_head("jakiro", scale=0.3)
    assert isinstance(head, Jakiro) and head.depth == 4
    of, memory = heads.around(), head.memory(heads.around())
    assert isinstance(memory, JakiroMemory)
    memory.read(torch.randn(5, inside.CHANNELS), [3, 4, 5, 6, 7])
    memory.after([3, 2], [1, 2, 3, 9], [-1, 0, 1, 1])
    assert memory._rows.keys() == {0, 1}
    block, rows = head.block, torch.randn(2, inside.CHANNELS)
    inside_rows = block.inside(rows)
    first, second = (
        torch.nn.functional.linear(gated, down)
        for gated, down in zip(block.gated(inside_rows).chunk(2, -1), block["mlp.down_proj.weight"].chunk(2, -1))
    )
    gate = torch.nn.functional.linear(inside_rows, block["mlp.gate.weight"])
    one, other = gate[:, 2:].softmax(-1).unbind(-1)
    sign = torch.where(one >= other, 1.0, -1.0)
    expected = rows + (sign * one)[:, None] * first - (sign * other)[:, None] * second
    torch.testing.assert_close(block.fed(rows)[:, inside.CHANNELS :], expected)
    assert not torch.equal(head.read_second(block.fed(rows), of), head.read_out(block.fed(rows), of))


def test_a_head_of_another_target_is_refused() -> None:
    head = KINDS["medusa"].fresh(16, 97, 3, torch.Generator())
    with pytest.raises(Unsupported, match="16 channels"):
        inside.engine("fast").generate([1], heads.methods(head)["draft"], max_new_tokens=2)


class Watched(Medusa):
    """Takes down what its memories read."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.read: list[tuple[torch.Tensor, list[int]]] = []

    def memory(self, around: Target) -> Memory:
        return WatchedMemory(self, around)


class WatchedMemory(MedusaMemory):
    def read(self, rows: torch.Tensor, following: Sequence[int]) -> None:
        assert isinstance(self.head, Watched)
        self.head.read.append((rows.clone(), list(following)))
        super().read(rows, following)


PROMPT = [(7 * each) % inside.VOCABULARY for each in range(80)]  # longer than a block of what an engine keeps


def test_what_it_reads_are_the_rows_of_what_was_committed() -> None:
    """Of the prompt and of each round; of a text that the engine has read before only what is new."""
    engine, head = inside.engine("bits"), heads.random_head("medusa", scale=0.05)
    watched = Watched(head.tensors, head.config)
    ends = []
    for again in (False, True):
        watched.read.clear()
        answer = engine.generate(PROMPT, heads.methods(watched)["draft-tree"], max_new_tokens=24, end_tokens=())
        assert answer.counters.accepted > 0
        tokens = [*answer.prompt_tokens, *answer.tokens]
        (rows,) = rows_of(engine.model, [tokens[:-1]], (3,))
        read = torch.cat([each for each, _ in watched.read])
        following = [token for _, said in watched.read for token in said]
        start = ends[0] - len(read) if again else 0
        ends.append(start + len(read))
        assert (0 < start < len(PROMPT)) is again and ends[-1] > len(PROMPT)
        assert torch.equal(read, rows[start : ends[-1]])
        assert following == tokens[1 + start : 1 + ends[-1]]


@pytest.mark.parametrize("kind", ROWS)
def test_what_it_made_of_a_text_is_as_good_as_reading_it_again(kind: str) -> None:
    """It guesses as if it had read all of a prompt of which the engine keeps a part; other texts leave nothing."""
    engine, method = inside.engine("bits"), heads.methods(heads.random_head(kind, scale=0.05))["draft-tree"]
    other = [*PROMPT[:40], *reversed(PROMPT)]
    asked: dict[str, Any] = {"max_new_tokens": 24, "end_tokens": ()}
    first, *later = (engine.generate(prompt, method, **asked) for prompt in (PROMPT, other, PROMPT, other))
    drafted = [[(step.drafted, step.accepted) for step in answer.steps] for answer in (first, *later)]
    assert drafted[2] == drafted[0] and drafted[3] == drafted[1]


def test_auto_finds_a_head_beside_the_model(tmp_path: Path) -> None:
    """Unless it is of another model, or a draft model lies there."""
    model = Around(inside.engine("fast").model)
    model.name = str(tmp_path / "model")

    def parts() -> list[str]:
        method = complete(parse("auto"), model)
        assert isinstance(method, Speculate) and isinstance(method.draft, Auto)
        return [part.name for part in method.draft.parts]

    assert parts() == ["suffix"]
    write_head(heads.random_head("eagle"), tmp_path / "head")
    assert parts() == ["suffix", "draft-tree"]
    answers = [Engine(model).generate(list(heads.PROMPTS[0]), way, max_new_tokens=30) for way in ("plain", "auto")]
    assert answers[0].tokens == answers[1].tokens
    assert answers[1].counters.drafted > 0
    write_head(KINDS["eagle"].fresh(64, 97, 3, torch.Generator()), tmp_path / "head")
    assert parts() == ["suffix"]
    for folder in (tmp_path / "model", tmp_path / "draft"):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}")
    assert parts() == ["suffix", "draft"]


def test_samples_fork_what_the_head_remembers() -> None:
    engine, method = inside.engine("fast"), heads.methods(heads.random_head("eagle", scale=0.05))["draft-tree"]
    request = {"max_new_tokens": 12, "end_tokens": (), "temperature": 1.0, "seed": 2}
    plain = engine.generate(list(heads.PROMPTS[0]), "plain", samples=3, **request)
    drafted = engine.generate(list(heads.PROMPTS[0]), method, samples=3, **request)
    assert [answer.tokens for answer in drafted] == [answer.tokens for answer in plain]
    assert all(answer.counters.drafted > 0 for answer in drafted)


SHIPPED = [name for name, entry in catalogue.entries().items() if entry.family == "heads" and entry.parts]


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_ship_draft_for_the_shipped_target(name: str) -> None:
    engine = Engine.load("zoo/causal")
    question = [{"role": "user", "content": "Sort the words from A to Z: owl, lamp, banana, brush"}]
    for request in ({}, {"temperature": 1.0, "seed": 4}):
        plain = engine.generate(question, "plain", max_new_tokens=24, **request)
        found = engine.generate(question, name, max_new_tokens=24, **request)
        assert found.tokens == plain.tokens
        assert len(found.tokens) >= 1.5 * found.counters.rounds
