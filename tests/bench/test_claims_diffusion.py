from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.subjects import subject
from models.masked_checkpoints import MASK, VOCABULARY, save
from stretto import catalogue, gym, method
from stretto.bench.claims import (
    diffusion_analysis,
    diffusion_blocks,
    diffusion_caches,
    diffusion_constraints,
    diffusion_lossless,
    diffusion_orders,
    diffusion_paths,
    diffusion_stops,
    diffusion_trained,
)
from stretto.bench.claims.canvas import MEASURES, Filled, Filling, Work, told
from stretto.bench.claims.contract import Absent, Claim
from stretto.bench.claims.lab import Lab
from stretto.bench.claims.table import CLAIMS
from stretto.generation import Counters
from stretto.train import specialists

FILES = {
    "orders": diffusion_orders,
    "paths": diffusion_paths,
    "trained": diffusion_trained,
    "blocks": diffusion_blocks,
    "caches": diffusion_caches,
    "stops": diffusion_stops,
    "lossless": diffusion_lossless,
    "constraints": diffusion_constraints,
    "analysis": diffusion_analysis,
}
KINDS = [  # of contests: a claim of each
    *("llada", "fast-dllm-theorem", "pc-sampler", "dystruct", "fast-dllm-v2", "elastic-cache", "bac"),
    *("prophet", "learn2pd", "freedave", "ssd", "cfg-diffusion", "cfg-diffusion-json", "ete-bits", "bits-to-rounds"),
    *("discrete-diffusion-vla", "rediff", "rediff-correction", "rediff-ideal"),
    *("ar-ness", "parallelbench", "parallelbench-trained"),
]
HERE = [each for file in FILES.values() for each in file.CLAIMS]
STATED = {136, 255, 8, 101, 37, 249, 64, 59, 27, 14, 34, 63, 153, 261, 40, 264, 2, 130, 7, 219, 26, 94, 53, 56, 24}
PIECES = ["<pad>", "<bos>", "<end>", "w", *("{", "}", "[", "]", ":", ",", '"a"', '"b"', "1", "23", "true", "null")]
SMALLER = {  # so that the whole file takes seconds
    diffusion_stops: {"TAUGHT": 1, "EPOCHS": 50, "FEW": 1, "LONG": 48, "FULL": Work(("sorting",), canvas=8)},
    diffusion_constraints: {"MODELS": 2, "RECORDS": Work(("json_edit",), canvas=8, fitting=48, count=1)},
    diffusion_orders: {"JOINTS": 12},
    diffusion_paths: {"SAMPLES": 20, "TEXTS": "{store gym:sql}"},
    diffusion_blocks: {"WIDE": 48},
    specialists: {
        "ROWS": 4,
        "RUNS": {task: tuple(run._replace(steps=1) for run in runs) for task, runs in specialists.RUNS.items()},
    },
    diffusion_analysis: {"JOINTS": 3},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each piece of JSON, and for everything else the same one."""
    words = {word: at for at, word in enumerate([*PIECES, *(f"w{at}" for at in range(len(PIECES), VOCABULARY - 1))])}
    found = Tokenizer(models.WordLevel(words | {"[MASK]": MASK}, unk_token="w"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<end>", mask_token="[MASK]", unk_token="w")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Untrained checkpoints that fill masks: on the whole canvas, and block by block."""
    root = tmp_path_factory.mktemp("twins")
    save("own", root / "masked")
    save("own-block", root / "block", stretto_diffusion={"mask_token_id": MASK, "block": 16})
    for name in ("masked", "block"):
        tokenizer().save_pretrained(root / name)
    return {name: str(root / name) for name in ("masked", "block")}


@pytest.fixture(scope="module")
def lab(places):
    """One question of each kind, of which any answer is right."""
    made = Lab(subject(), count=1, **places)
    made.subject.engine.codec = made.filler("masked").codec  # whose tokens stores are made of
    with pytest.MonkeyPatch.context() as changed:
        for each in {type(task) for task in gym.tasks().values()}:
            changed.setattr(each, "check", lambda self, question, reply: True)
        for file, settings in SMALLER.items():
            for name, value in settings.items():
                changed.setattr(file, name, value)
        yield made
    made.close()


def named(name: str) -> Claim:
    (found,) = [each for each in HERE if each.name == name]
    return found


# -- records ------------------------------------------------------------------------------------


def test_every_system_has_its_claim_in_the_table():
    assert not STATED - {each.number for each in HERE}
    assert {"llada", "dream"} <= {each.entry for each in HERE}
    assert not [each.name for each in HERE if each not in CLAIMS]
    assert {catalogue.entries()[each.entry].number for each in HERE if each.number} >= STATED


@pytest.mark.parametrize("contest", [each for each in HERE if isinstance(each.contest, Filling)], ids=lambda c: c.name)
def test_every_side_is_a_method_and_every_relation_names_figures(contest):
    filling = contest.contest
    for text in filling.sides.values():
        method.parse(re.sub(r"\{.*?\}", "x", text))
    figures = {f"{measure}, {side}" for measure in filling.measures for side in filling.sides}
    assert set(filling.measures) <= MEASURES.keys()
    assert {name for each in contest.must for name in (each.left, each.right) if name} <= figures


# -- contests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_contest_gives_all_the_figures_of_its_relations(lab, name):
    """And relations that are theorems hold for an untrained model too."""
    claim = named(name)
    figures = claim.contest(lab)
    for relation in claim.must:
        assert {relation.left, relation.right} - {""} <= figures.keys()
        if relation.sign == "=":
            assert relation.holds(figures), (str(relation), figures)
    assert all(0 <= value <= 1 for key, value in figures.items() if key.startswith(("right", "as the first", "valid")))
    assert figures == claim.contest(lab)


def test_questions_have_answers_that_fit(lab):
    work = Work(("sorting", "list_edit"), canvas=6, count=3)
    asked = work.questions(lab)
    assert [each.kind for each in asked] == ["sorting", "list_edit"]  # of each, as many as the lab says
    assert all(len(each.answer.split()) < 6 for each in asked)
    (other,) = Work(("sorting",), canvas=6, split="train").questions(lab)
    assert gym.split_of(asked[0]) == "test" and gym.split_of(other) == "train"
    with pytest.raises(Absent, match="room on 1 position"):
        Work(("sorting",), canvas=1).questions(lab)


def test_measures_are_of_all_answers(lab):
    work = Work(("sorting", "list_edit"), canvas=8)
    side, other = work.by(lab, "low-confidence"), work.by(lab, "threshold(0)")
    assert work.by(lab, "low-confidence") is side  # answered once
    assert side.each("rounds") == 8 and other.each("rounds") == 1
    assert side.each("token_forwards") == 8 * sum(len(each.prompt_tokens) + 8 for each in side.answers) / 2
    assert (side.right, side.like(side), side.like(other)) == (1.0, 1.0, 0.0)
    pairs = [list(zip(a.tokens, b.tokens, strict=False)) for a, b in zip(side.answers, other.answers, strict=True)]
    longest = [max(len(a.tokens), len(b.tokens)) for a, b in zip(side.answers, other.answers, strict=True)]
    assert side.tokens_like(side) == 1.0
    assert side.tokens_like(other) == sum(a == b for each in pairs for a, b in each) / sum(longest)
    figures = told({"a": side, "b": other}, ("rounds", "as the first"))
    assert figures == {"rounds, a": 8.0, "rounds, b": 1.0, "as the first, a": 1.0, "as the first, b": 0.0}


def test_early_ends():
    """Of what was filled first, half of all, the share that is the end token; answers without one count as none."""

    def answer(filled, finish):
        steps = [SimpleNamespace(committed=tokens) for tokens in filled]
        return SimpleNamespace(tokens=[5, 2], text="", finish=finish, steps=steps, error=None, counters=Counters())

    ended, endless = (answer([[2, 7], [2], [5, 4, 6]], finish) for finish in ("end", "length"))
    assert Filled([], [ended]).early_ends == pytest.approx(2 / 3)
    assert Filled([], [ended, endless]).early_ends == pytest.approx(1 / 3)


def test_where_nothing_is_right_nothing_is_told(lab, monkeypatch):
    work = Work(("list_edit",), canvas=8)
    found = {"a": work.by(lab, "low-confidence")}
    monkeypatch.setattr(type(gym.task("list_edit")), "check", lambda self, question, reply: False)
    assert told(found, ("rounds",)) == {"rounds, a": 8.0}
    with pytest.raises(Absent, match="none of the questions"):
        told(found, ("right", "rounds"))


def test_missing_twins_are_said():
    lab = Lab(subject(), masked="zoo/nobody", block="zoo/nobody")
    for which in ("masked", "block"):
        with pytest.raises(Absent) as caught:
            lab.filler(which)
        assert f"train zoo {which}" in caught.value.hint
    lab.close()


def test_whether_a_step_takes_the_likeliest_tokens():
    """p(1, 1) = .2, p(1, 0) = p(0, 1) = .4: each is likeliest as 1, and both together are not."""
    joint = torch.tensor([[0.0, 0.4], [0.4, 0.2]], dtype=torch.float64)

    def steps(*filled):
        return SimpleNamespace(steps=[SimpleNamespace(positions=at, committed=tokens) for at, tokens in filled])

    assert diffusion_orders.steps_at_the_mode(joint, steps(([1, 2], [1, 1]))) == [False]
    assert diffusion_orders.steps_at_the_mode(joint, steps(([1, 2], [1, 0]))) == [True]
    assert diffusion_orders.steps_at_the_mode(joint, steps(([2], [1]), ([1], [1]))) == []
    three = torch.stack([joint, joint.flip(0)])  # after a first 1, it is the second word that is turned round
    assert diffusion_orders.steps_at_the_mode(three, steps(([1], [1]), ([2, 3], [0, 1]))) == [False]
    assert diffusion_orders.steps_at_the_mode(three, steps(([1], [1]), ([2, 3], [0, 0]))) == [True]


def test_sentences_of_the_nested_language_and_records():
    nested, end = diffusion_constraints.is_nested, diffusion_constraints.END
    assert nested([0, 0, 1, 1]) and nested([0, 1, end, 4])
    assert not nested([0, 0, 1]) and not nested([1, 0]) and not nested([end, 0, 1])
    assert diffusion_constraints.is_json(SimpleNamespace(text='{"a": [1]}'))
    assert not diffusion_constraints.is_json(SimpleNamespace(text='{"a": [1}'))


def test_the_length_of_a_canvas():
    def answer(prompt, *places):
        return SimpleNamespace(prompt_tokens=[0] * prompt, steps=[SimpleNamespace(places=each) for each in places])

    side = SimpleNamespace(answers=[answer(3, [3, 4], [8], [5]), answer(1, [1])])
    assert diffusion_blocks.positions(side) == (6 + 1) / 2
