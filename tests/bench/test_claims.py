from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import re
from fractions import Fraction

import numpy as np
import pytest

from bench.subjects import draft, subject, target, tokenizer
from stretto import catalogue, method, zoo
from stretto.bench.claims import acceptance, drafts, extraction, pictures, trust
from stretto.bench.claims.contract import Absent, Claim, at_least, at_most, equal, falling
from stretto.bench.claims.lab import Decoding, Lab, Race, Score, Worked
from stretto.bench.claims.table import CLAIMS, chosen, page, shown, tried
from stretto.bench.command import add_arguments, run
from stretto.bench.results import Spread
from stretto.bench.tasks.replay import SOURCES
from stretto.errors import UnknownName
from stretto.speculate.acceptors.block import Block
from stretto.speculate.acceptors.rejection import Rejection

STATED = {  # systems whose claims must stand in the table, by number
    *(5, 22, 23, 29, 31, 33, 36, 48, 52, 60, 61, 62, 69, 81, 85, 90, 95, 102, 112, 114, 149, 195, 198, 247, 258),
    *(20, 77, 160, 170, 211, 213),
    *(79, 91, 110, 121, 126, 139, 152, 169),
    *(17, 178),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of data with one source."""
    root = tmp_path_factory.mktemp("data")
    lines = [
        {"question": f"How many are {n}?", "answer": f"There are {n} and {n + 4}, so {2 * n + 4}."} for n in range(9)
    ]
    file = root / SOURCES["gsm8k"].files[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return root


@pytest.fixture
def lab(data):
    made = Lab(subject(), "small", data=data, count=2)
    yield made
    made.close()


def claim(run, *must, name="one", where_not="", entry="plain") -> Claim:
    return Claim(name, entry, "says", "measure", Worked(run, "how"), must, where_not=where_not)


# -- records ------------------------------------------------------------------------------------


def test_every_numbered_system_has_a_claim_under_its_catalogue_name():
    assert not STATED - {each.number for each in CLAIMS}
    names = [each.name for each in CLAIMS]
    assert len(set(names)) == len(names)
    for each in CLAIMS:
        entry = catalogue.entries()[each.entry]
        assert each.number in (entry.number, None) and (each.number or entry.number is None), each.name
        assert each.must and each.contest.text and "\n" not in each.says + each.where_not


def test_every_side_is_a_method_and_every_relation_names_figures():
    for each in CLAIMS:
        if isinstance(each.contest, Decoding | Race):
            for text in each.contest.sides.values():
                method.parse(re.sub(r"\{.*?\}", "x", text))
            for relation in each.must:
                assert {relation.left, relation.right} - {""} <= each.contest.sides.keys(), each.name


def test_relations():
    figures = {"a": 2.0, "b": Spread(1.5, 1.0, 9.0), "c": 1.5}
    assert at_least("a", 1.3, "b").holds(figures) and not at_least("a", 1.4, "b").holds(figures)
    assert at_most("b", 1.5).holds(figures) and not at_most("b", 1.4).holds(figures)
    assert equal("c", 1.5).holds(figures) and not equal("c", 1.51).holds(figures)
    assert [each.holds(figures) for each in falling("a", "b", "c")] == [True, True]
    assert list(map(str, (at_least("a", 1.3, "b"), at_most("a", 1, "b"), equal("a", 2)))) == [
        "a ≥ 1.3 × b",
        "a ≤ b",
        "a = 2",
    ]


# -- table --------------------------------------------------------------------------------------


def test_what_holds_what_does_not_and_why(lab):
    def fails(lab):
        raise Absent("no file x", hint="")

    claims = [
        claim(lambda lab: {"a": np.float64(2.0)}, at_least("a", 1.5)),
        claim(lambda lab: {"a": 1.0}, at_least("a", 1.5), name="two", where_not="it is small"),
        claim(lambda lab: {"a": 1.0}, at_least("a", 1.5), name="three"),
        claim(fails, at_least("a", 1.5), name="four"),
    ]
    found = list(tried(claims, lab))
    assert [each.holds for each in found] == [True, False, False, False]
    assert found[1].verdict == "**does not hold** (wanted a ≥ 1.5): it is small"
    assert "not known yet" in found[2].verdict and found[3].verdict.startswith("not measured: no file x")
    text = page(found, "stretto bench claims", "here")
    assert "1 of 4 hold." in text and text.count("\n| **plain**: says") == 4 and "`stretto bench claims two`" in text
    assert json.loads(json.dumps(found[0].record()))["figures"] == {"a": 2.0}
    assert [shown(0.1234), shown(2.0), shown(Spread(1.0, 0.5, 2.0))] == ["0.123", "2.00", "1.00 (0.50–2.00)"]


def test_choosing():
    assert chosen([]) == list(CLAIMS)
    assert [each.name for each in chosen(["61", "pearl", "token-recycling"])] == ["token-recycling", "pearl"]
    assert {each.entry for each in chosen(["sequoia"])} == {"sequoia"} and len(chosen(["sequoia"])) == 2
    with pytest.raises(UnknownName, match="tokn"):
        chosen(["tokn-recycling"])


# -- contests -----------------------------------------------------------------------------------


def test_a_decoding_counts_what_its_methods_did(lab):
    sides = {
        "plain": "plain",
        "draft": "draft(model=small)+fixed(3)",
        "store": "store(path={store replay:gsm8k})+fixed(8)",
    }
    contest = Decoding(sides, ("replay:gsm8k",), max_new_tokens=20)
    figures = contest(lab)
    assert figures["plain"] == 1.0
    assert figures["store"] > 1.5  # other sums of the same form are in the store
    score = lab.score(sides["draft"], contest.work, temperature=0.0, count=2, max_new_tokens=20)
    assert len(score.target) == score.counters.row_forwards
    assert sum(score.target) == score.counters.token_forwards
    assert len(score.draft) > len(score.target) and lab.differing == 0
    spent = sum(1 + 0.5 * (slots - 1) for slots in score.target) + 0.1 * sum(1 + 0.5 * (n - 1) for n in score.draft)
    assert score.priced(0.5, 0.1) == pytest.approx(score.counters.new_tokens / spent)
    before = list(lab.meters[0].windows)
    assert contest(lab) == figures and lab.meters[0].windows == before  # measured once


def test_pictures_are_the_same_for_all_steers_that_look_at_them(lab):
    if "grid" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    lab.count = 6
    figures = pictures.tried(lab, {"neutral": ["scaling_vis(1.0)"], "flipped": ["ritual(by=flip)"]}, 1.0)
    for what in ("invented", "recall", "F1"):
        assert figures[f"{what}, neutral"] == figures[f"{what}, alone"] <= 1
    assert any(figures[f"{what}, flipped"] != figures[f"{what}, alone"] for what in ("invented", "recall", "F1"))
    placed = pictures.placed(lab)
    assert placed["right, adapted"] in {count / 6 for count in range(7)} and len(placed) == 4
    by_number = pictures.gallery(lab).captions(lambda at: ["ritual(by=flip)"], 1.0)
    assert by_number.invented == figures["invented, flipped"]


def test_classifiers_are_as_right_as_they_are_said_to_be():
    scene = pictures.grid.scene(random.Random(1), 0.0)
    seen = {word for thing in scene.objects for word in pictures.grid.OBJECTS[thing]}
    for right in (0.0, 1.0):
        found = pictures.labelled(scene, random.Random(2), right)
        assert {word for word, p in found.items() if p == 0.9} == (seen if right else {*found} - seen)


def test_less_harm_is_left_the_more_is_asked(lab, monkeypatch):
    monkeypatch.setattr(trust, "CHECKS", (0, 8))
    lab.count = 8
    figures = trust.reflected(lab)
    assert figures["harm, checks 0"] > 0.5 > figures["harm, checks 8"] and figures["apologies, checks 0"] == 0


def test_sentences_hold_what_they_are_said_to_hold_and_scorers_learn_it(lab, monkeypatch):
    said = [extraction.sentence(random.Random(seed)) for seed in range(20)]
    rules = extraction.Rules(admitted=extraction.ADMITTED)
    assert not any(extraction.contradicts(each.truth, rules) for each in said)
    assert extraction.f1([each.truth for each in said], [each.truth for each in said]) == 1
    monkeypatch.setattr(extraction, "TAUGHT", 12)
    lab.count = 10
    figures = extraction.extracted(lab)
    assert figures["contradictions, joint"] == figures["contradictions, entities first"] == 0
    assert 0 < figures["F1, joint"] < 1


def test_a_race_is_against_plain_decoding(lab):
    figures = Race({"again": "plain"}, ("replay:gsm8k",), count=1, max_new_tokens=16, repeats=3)(lab)
    assert 0.3 < figures["again"].median < 3 and figures["again"].low <= figures["again"].high


def test_free_prompts_have_no_reference_and_missing_files_are_said(lab):
    (exercise, *_) = lab.task("free:gsm8k").exercises(0)
    assert exercise.reference is None and "How many" in exercise.prompt
    with pytest.raises(Absent, match="no file"):
        lab.task("free:stories")


def test_nobody_knows_the_texts_that_are_measured(lab):
    measured = {case.expected[0] and tuple(case.expected) for case in lab.prepared("replay:gsm8k", 0.0, 2, 96).cases}
    assert not measured & {tuple(tokens[-len(each) :]) for tokens in lab.tokens("replay:gsm8k", 5) for each in measured}


# -- enumeration ----------------------------------------------------------------------------------


def of_two(vector):
    """A pair of context-free models over two tokens."""
    paths = [path for size in range(3) for path in itertools.product(range(2), repeat=size)]
    p, q = (np.array([float(each) for each in side]) for side in vector)
    return acceptance.Pair(dict.fromkeys(paths, p), dict.fromkeys(paths, q))


def test_expected_tokens_by_hand():
    """q = (2/3, 1/3), p = (1/3, 2/3), two tokens: 10/9 accepted token by token, 11/9 as a block."""
    pair = of_two([(Fraction(1, 3), Fraction(2, 3)), (Fraction(2, 3), Fraction(1, 3))])
    assert acceptance.length(Rejection(), pair, (1, 1)) == pytest.approx(1 + 10 / 9)
    assert acceptance.length(Block(), pair, (1, 1)) == pytest.approx(1 + 11 / 9)


def test_all_drafts_have_probability_one_together():
    pair = of_two([(Fraction(1, 3), Fraction(2, 3)), (Fraction(2, 3), Fraction(1, 3))])
    for branches, repeat in (((2, 2), False), ((2, 1), True), ((1, 1), False)):
        drafts_ = list(acceptance.trees(pair, branches, repeat))
        assert sum(weight for _, weight in drafts_) == pytest.approx(1)
        assert all(len(tree) == branches[0] * (1 + branches[1]) for tree, _ in drafts_)


def test_the_one_position_of_the_catalogue(lab):
    assert acceptance.reference(lab) == pytest.approx(
        {"one": 0.7, "with replacement": 0.76, "k-seq": 0.791355, "without replacement": 283 / 350}, abs=1e-6
    )


def test_the_lossy_rule_draws_what_it_says(lab):
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    exact, rejected = acceptance._lossy(p, q, 0.0)
    assert exact == pytest.approx(p) and rejected == pytest.approx(0.3)
    everything, never = acceptance._lossy(p, q, 0.9)
    assert everything == pytest.approx(q) and never == pytest.approx(0.0)


# -- simulations ----------------------------------------------------------------------------------


def test_simulated_contests(lab):
    """Numbers that depend on no model."""
    trees = drafts.best_trees(lab)
    assert (trees["3 nodes"], trees["7 nodes"]) == pytest.approx((1.96, 2.6256))
    overlap = drafts.overlapped(lab)
    assert overlap["pearl"] > overlap["in turn, best length"] > 1
    found = drafts.goodput(lab)
    assert found["length at 64 rows"] == 0 and found["smartspec over the best fixed length"] > 0.999


def test_a_score_adds_up():
    one, other = Score(target=[1], refused=2), Score(target=[2, 3], differing=1)
    one.add(other)
    assert (one.target, one.refused, one.differing) == ([1, 2, 3], 2, 1)


# -- command --------------------------------------------------------------------------------------


def test_the_command(data, tmp_path, capsys):
    for name, module in (("target", target()), ("draft", draft())):
        module.save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--model", str(tmp_path / "target"), "--draft", str(tmp_path / "draft"), "--data", str(data)]
    out = tmp_path / "claims"
    assert run(parser.parse_args(["claims", "36", "aggressive-decoding", *words, "--out", str(out)])) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Claims") and "not measured: no file" in text and "**pearl** (36)" in text
    record = json.loads(out.with_suffix(".json").read_text())
    assert [each["name"] for each in record["claims"]] == ["pearl", "aggressive-decoding"]
    assert record["claims"][0]["holds"] and record["provenance"]["settings"]["seed"] == 0
