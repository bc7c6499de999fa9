"""Specialists: what these models are taught, and that they come out as checkpoints like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from stretto.cli import main
from stretto.engine import Engine
from stretto.errors import UnknownName
from stretto.gym import actions, lists
from stretto.models.contract import masking_of
from stretto.models.masked import OWN
from stretto.train import specialists
from stretto.train.specialists import (
    CAUSAL,
    COSINE,
    DRAWS,
    MASK,
    MASKED,
    REFINED,
    WORDS,
    Lessons,
    Run,
    held_out,
    train_specialists,
)

SIZES = {"actions": (1 + actions.JOINTS, actions.CHUNK), "lists": (lists.ASKED, lists.LENGTH)}


@pytest.fixture
def quick(monkeypatch) -> None:
    """Two steps of four rows each."""
    monkeypatch.setattr(specialists, "ROWS", 4)
    runs = {task: tuple(run._replace(steps=2) for run in runs) for task, runs in specialists.RUNS.items()}
    monkeypatch.setattr(specialists, "RUNS", runs)


# -- lessons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["actions", "lists"])
def test_questions_are_given_and_answers_asked_for(task: str) -> None:
    batch = Lessons(DRAWS[task], CAUSAL, 1).batch(3, 9)
    asked, answered = SIZES[task]
    assert batch.tokens.shape == (9, asked + answered) and batch.tokens.max() < MASK
    assert torch.equal(batch.weights, torch.tensor([0.0] * asked + [1.0] * answered).expand(9, -1))
    for objective in (MASKED, REFINED, COSINE):
        noisy = Lessons(DRAWS[task], objective, 1).batch(3, 9)
        assert torch.equal(noisy.tokens, batch.tokens)  # the same texts, whatever is done to them
        assert torch.equal(noisy.seen(MASK)[:, :asked], batch.tokens[:, :asked]) and noisy.masked.any()
    assert torch.equal(
        Lessons(DRAWS[task], REFINED, 1).batch(3, 9).shown, Lessons(DRAWS[task], REFINED, 1).batch(3, 9).shown
    )


@pytest.mark.parametrize("task", ["actions", "lists"])
def test_what_is_asked_in_the_end_was_never_taught(task: str) -> None:
    asked = {tuple(question) for question in held_out(task, 0, 200)[0].tolist()}
    taught = {
        tuple(row[: SIZES[task][0]].tolist())
        for seed in (0, 1)
        for number in range(20)
        for row in Lessons(DRAWS[task], CAUSAL, seed).batch(number, 64).tokens
    }
    assert len(asked) > 40 and not asked & taught


def test_actions_are_masked_by_a_cosine_and_weigh_the_same() -> None:
    batch = Lessons(DRAWS["actions"], COSINE, 0).batch(0, 512)
    shares = batch.masked[:, SIZES["actions"][0] :].float().mean(1)
    assert float(shares.mean()) == pytest.approx(2 / math.pi, abs=0.02)  # of cos(πu/2) over u from 0 to 1
    assert float((shares > 0.9).float().mean()) == pytest.approx(math.acos(0.9) * 2 / math.pi, abs=0.06)
    assert set(batch.rates.unique().tolist()) == {1.0}


# -- models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["actions", "lists"])
def test_models_come_out_as_checkpoints_and_are_kept(task: str, quick, tmp_path: Path, capsys) -> None:
    assert main(["train", "specialists", task, "--out", str(tmp_path)]) == 0
    assert f"masked: --model {tmp_path}" in capsys.readouterr().out or task == "lists"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    made = train_specialists(task, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")} == before
    assert list(made) == [run.name for run in specialists.RUNS[task]]
    questions, answers = held_out(task, 0, 2)
    for run in specialists.RUNS[task]:
        engine = Engine.load(str(made[run.name]))
        assert (masking_of(engine.model) is not None) == (run.objective.masking is not None)
        found = engine.generate(questions.tolist(), max_new_tokens=answers.shape[1], end_tokens=())
        assert [len(each.tokens) for each in found] == [answers.shape[1]] * 2
        text = " ".join(WORDS[token] for token in questions[0])
        assert engine.encode(text) == questions[0].tolist()
        if run.objective.masking is not None:
            assert json.loads((made[run.name] / "config.json").read_text())[OWN]["mask_token_id"] == MASK


def test_the_same_seed_gives_the_same_weights(quick, tmp_path: Path) -> None:
    one, again, other = (
        train_specialists("actions", tmp_path / str(at), seed)["causal"] for at, seed in enumerate((3, 3, 4))
    )
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_there_are_two_tasks(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no 'dance'"):
        train_specialists("dance", tmp_path)


def test_the_loss_falls(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(specialists, "ROWS", 8)
    monkeypatch.setitem(specialists.RUNS, "lists", (Run("refined", REFINED, 50),))
    train_specialists("lists", tmp_path)
    log = (tmp_path / "lists" / "refined" / "log.jsonl").read_text().splitlines()
    first, last = (json.loads(line)["loss"] for line in log)
    assert last < first - 0.5
