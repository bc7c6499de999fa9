from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stretto.laws import inside
from stretto.laws.heads import fresh_head, random_head
from stretto.models.heads.files import KINDS
from stretto.train.heads import trainer
from stretto.train.heads.recording import Recording, common_tokens, recorded, rows_of
from stretto.train.heads.trainer import HeadTrainer, Settings, batch_of, loss_of, matrices
from stretto.train.trainer import Budget

LAYERS, LAST = (1, 2, 3), (3,)  # all of the small network, and what the first heads read
QUICK = {"texts": 4, "steps_ahead": 3, "warm": 1, "rate": 1e-2}


def texts(count=6, size=24):
    """Tokens that count up: what follows is certain once it is learnt."""
    model = inside.engine("fast").model
    found = []
    for at in range(count):
        tokens = tuple((7 * at + each) % inside.VOCABULARY for each in range(size))
        (rows,) = rows_of(model, [tokens[:-1]], LAYERS)
        found.append(Recording(tokens, 4, LAYERS, rows))
    return found


def fresh(kind):
    return fresh_head(kind, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_the_target_says(kind, tmp_path):
    model, given = inside.engine("fast").model, Settings(Budget(steps=30), **QUICK)
    head, held = fresh(kind), texts()
    before = float(loss_of(head, matrices(model), batch_of(held, head.taps(3), 64), given))
    HeadTrainer(head, model, held, given, tmp_path).run()
    assert float(loss_of(head, matrices(model), batch_of(held, head.taps(3), 64), given)) < 0.8 * before
    assert not any(tensor.requires_grad for tensor in head.tensors.values())


def test_what_was_broken_off_goes_on_as_if_it_was_not(tmp_path, monkeypatch):
    model, given = inside.engine("fast").model, Settings(Budget(steps=8), **QUICK, checkpoint_seconds=0.0)
    whole, broken, held = fresh("eagle"), fresh("eagle"), texts()
    HeadTrainer(whole, model, held, given, tmp_path / "whole").run()
    steps, ended = [], HeadTrainer._one_step

    def fails(self, used):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(used)
        return ended(self, used)

    monkeypatch.setattr(HeadTrainer, "_one_step", fails)
    with pytest.raises(KeyboardInterrupt):
        HeadTrainer(broken, model, held, given, tmp_path / "broken").run()
    monkeypatch.undo()
    again = fresh("eagle")
    assert HeadTrainer(again, model, held, given, tmp_path / "broken").step == 5
    HeadTrainer(again, model, held, given, tmp_path / "broken").run()
    for name, tensor in whole.tensors.items():
        assert torch.equal(again.tensors[name], tensor), name


def test_only_an_answers_tokens_count():
    """Other tokens of the prompt than those that the guessed ones follow change nothing of the loss."""
    model = inside.engine("fast").model
    around, given = matrices(model), Settings(Budget(steps=1), **QUICK)
    (text,) = texts(1)
    batch = batch_of([text], LAST, 64)
    assert batch.counted[0].tolist() == [False] * 4 + [True] * 20
    head = random_head("medusa")
    loss = float(loss_of(head, around, batch, given))
    batch.rows[0, 0] += 1.0  # nothing from place 0 on is an answer's within three steps but token 4, seen at place 0
    assert float(loss_of(head, around, batch, given)) != loss
    batch.counted[0, :5] = False
    loss = float(loss_of(head, around, batch, given))
    batch.rows[0, 0] += 1.0
    assert float(loss_of(head, around, batch, given)) == loss


def test_where_the_token_was_not_among_the_likeliest_a_head_is_led_no_further(monkeypatch):
    """GRIFFIN's rule; among all tokens it leaves nothing out."""
    around, given = matrices(inside.engine("fast").model), Settings(Budget(steps=1), **QUICK)
    batch = batch_of(texts(2), LAST, 64)
    batch.counted[:] = True
    heads = [random_head("griffin", seed) for seed in range(20)]
    said = [head.unrolled(batch.rows, batch.tokens, around, 1)[0] for head in heads]
    wrong = [bool((each.read(each.rows).argmax(-1)[:, :-1] != batch.tokens[:, 2:]).all()) for each in said]
    head = heads[wrong.index(True)]

    def loss(among, steps):
        monkeypatch.setattr(type(head), "among", among)
        return float(loss_of(head, around, batch, replace(given, steps_ahead=steps)))

    assert loss(1, 3) == loss(0, 1) < loss(0, 3) == loss(inside.VOCABULARY, 3)


def test_a_long_text_is_cut_in_front():
    (text,) = texts(1)
    batch = batch_of([text], LAST, 10)
    assert batch.tokens[0].tolist() == list(text.tokens[-10:])
    assert torch.equal(batch.rows[0], text.of(LAST)[-9:])
    assert batch.counted.all()


def test_matrices_are_the_targets_own():
    model = inside.engine("fast").model
    around, rows = matrices(model), torch.randn(3, inside.CHANNELS)
    torch.testing.assert_close(around.lm_head(around.final_norm(rows)), model.read_out(rows), atol=1e-4, rtol=1e-4)
    tokens = torch.tensor([3, 50])
    assert torch.equal(around.embed(tokens), model.embed(tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_of_common_tokens_learns_how_the_target_chooses_among_them(kind):
    """The loss is that of all tokens, with none but these possible."""
    model, given = inside.engine("fast").model, Settings(Budget(steps=1), **QUICK)
    common = [1, 4, 9, 30]
    whole = matrices(model)

    def possible(rows):
        said = whole.lm_head(rows)
        return torch.full_like(said, -1e4).index_copy(-1, torch.tensor(common), said[..., common])

    batch, head = batch_of(texts(2), fresh(kind).taps(3), 64), fresh(kind)
    head.config["common_tokens"] = common
    few = loss_of(head, matrices(model, common), batch, given)
    del head.config["common_tokens"]
    torch.testing.assert_close(few, loss_of(head, replace(whole, lm_head=possible), batch, given))
    assert abs(float(few) - float(loss_of(head, whole, batch, given))) > 1e-3


def test_answers_are_taken_down_once(tmp_path, monkeypatch):
    engine = inside.engine("fast")
    prompts = [[5, 9, 11], [3, 4]]
    first = recorded(engine, prompts, (1, 3), tmp_path, most=6, dtype=torch.float32)
    assert [len(each.tokens) - each.prompt for each in first] == [6, 6]
    for each in first:
        assert each.rows.shape == (len(each.tokens) - 1, 2 * inside.CHANNELS)
        answer = engine.generate(list(each.tokens[: each.prompt]), max_new_tokens=6)
        assert list(each.tokens) == [*answer.prompt_tokens, *answer.tokens]
    monkeypatch.setattr("stretto.train.heads.recording.answered", None)
    again = recorded(engine, prompts, (1, 3), tmp_path, most=6)
    assert [each.tokens for each in again] == [each.tokens for each in first]
    assert torch.equal(again[1].rows, first[1].rows)


def test_a_head_that_is_no_plain_product_is_refused(monkeypatch):
    from stretto.errors import Unsupported

    model = inside.engine("fast").model
    monkeypatch.setattr("stretto.models.heads.target.capped", lambda said, cap: said.clamp(-0.01, 0.01))
    with pytest.raises(Unsupported, match="plain product"):
        trainer.matrices(model)


def test_common_tokens_are_those_that_occur_most_often():
    row = torch.zeros(0, 1)
    said = [Recording((9, 9, 9, 1, 1, 1, 2), 3, LAST, row), Recording((8, 1, 3, 1, 1, 1), 1, LAST, row)]
    assert common_tokens(said, 12, most=1) == [1]
    assert common_tokens(said, 12, most=2) == [1, 9]
    assert common_tokens(said, 12) == [1, 2, 3, 8, 9]
    assert common_tokens(said, 9) == []  # more than half of all: nothing is saved
