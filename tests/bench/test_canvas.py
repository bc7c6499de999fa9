"""The plain sampler against the slow forward of the checkpoints' tests, ours against it, and the arithmetic between."""

from __future__ import annotations

import argparse

import pytest
import torch

from models.masked_checkpoints import KINDS, MASK, VOCABULARY, forward, save
from stretto import gym
from stretto.bench import canvas
from stretto.bench.canvas import DUAL, PLAIN, SURE, Comparison, Way, alone, load_pair, measure, ways_of
from stretto.bench.canvas_report import notes, table
from stretto.bench.command import add_arguments, run
from stretto.bench.provenance import provenance
from stretto.bench.sampler import Sampler, Settings, Written, module_of
from stretto.errors import ModelError, Unsupported
from stretto.models.masked import Masking

PROMPTS = [[5, 7, 9, 11, 3], [4, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
LENGTH, BLOCK = 6, 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return {name: load_pair(str(save(name, tmp_path_factory.mktemp(name))), 0) for name in ("llada", "dream")}


def by_hand(name: str, prompt: list[int], block: int, least: float) -> list[int]:
    """One canvas, recomputed whole by the slow forward at each step."""
    ids = [*prompt, *[MASK] * LENGTH]
    for begin in range(len(prompt), len(ids), block):
        while MASK in ids[begin : begin + block]:
            rows = forward(name, ids)
            rows[:, MASK] = -torch.inf
            if KINDS[name].shift:
                rows = torch.cat([rows[:1], rows[:-1]])
            sure, tokens = rows.softmax(-1).max(-1)
            opened = [at for at in range(begin, begin + block) if ids[at] == MASK]
            best = max(opened, key=lambda at: float(sure[at]))
            for at in [at for at in opened if sure[at] >= least or at == best]:
                ids[at] = int(tokens[at])
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", ["llada", "dream"])
@pytest.mark.parametrize("least", [2.0, 0.3])
def test_the_plain_sampler_is_the_slow_forward_and_ours_is_the_plain_sampler(pairs, name: str, least: float) -> None:
    """In a batch of unequal prompts, padded on the left."""
    pair = pairs[name]
    found = pair.sampler.write(PROMPTS, Settings(LENGTH, BLOCK, least))
    assert found.tokens == [by_hand(name, prompt, BLOCK, least) for prompt in PROMPTS]
    assert found.tokens == [
        pair.sampler.write([prompt], Settings(LENGTH, BLOCK, least)).tokens[0] for prompt in PROMPTS
    ]
    ours = pair.engine.generate(PROMPTS, f"threshold({least})+blocks({BLOCK})", max_new_tokens=LENGTH, end_tokens=())
    assert found.tokens == [answer.tokens for answer in ours]
    if least > 1:
        assert found.rounds == LENGTH and found.token_forwards == LENGTH * 3 * (9 + LENGTH)


@pytest.mark.parametrize("least", [2.0, 0.3])
def test_the_dual_caches_agree(pairs, least: float) -> None:
    """Keys and values from outside of the block are as old on both sides: the same tokens, other than without."""
    pair, settings = pairs["llada"], Settings(12, 4, least, dual=True)
    plain = pair.sampler.write(PROMPTS, settings)
    method = f"threshold({least})+blocks(4)+dual-cache"
    ours = pair.engine.generate(PROMPTS, method, max_new_tokens=12, end_tokens=())
    assert plain.tokens == [answer.tokens for answer in ours]
    whole = pair.sampler.write(PROMPTS, Settings(12, 4, least))
    assert plain.token_forwards < whole.token_forwards and plain.tokens != whole.tokens
    if least > 1:
        assert plain.token_forwards == 3 * (3 * (9 + 12) + 9 * 4)  # rows x (full at each block, then the block alone)


def test_what_cannot_be_compared_is_refused(pairs, tmp_path) -> None:
    with pytest.raises(Unsupported, match="another order"):
        pairs["dream"].sampler.write(PROMPTS, Settings(4, 2, dual=True))
    with pytest.raises(Unsupported, match="whole canvas"):
        Sampler(pairs["llada"].sampler.module, Masking(MASK, block=4))
    save("own", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="continues text"):
        module_of(str(tmp_path), torch.float32, torch.device("cpu"))


def test_contestants_of_a_shifted_model_have_no_dual_counterpart(pairs) -> None:
    assert [way.same for way in ways_of(pairs["llada"], 8)] == ["", "", "", PLAIN, DUAL, SURE]
    assert [way.same for way in ways_of(pairs["dream"], 8)] == ["", PLAIN, "", ""]


def test_prompts_of_a_model_without_tokenizer_are_unequal_and_hold_no_mask(pairs) -> None:
    asked = canvas.prompts(pairs["llada"], 8, 3, ["gym"], None)
    assert sorted(map(len, asked))[0] == 16 and len({len(prompt) for prompt in asked}) == 8
    assert all(0 <= token < VOCABULARY and token != MASK for prompt in asked for token in prompt)
    assert asked == canvas.prompts(pairs["llada"], 8, 3, ["gym"], None)


def test_prompts_of_a_model_with_a_tokenizer_are_questions_of_the_tasks_in_turn(tmp_path) -> None:
    pair = load_pair(str(save("own", tmp_path, tokenizer=True)), 0)
    asked = canvas.prompts(pair, 4, 3, ["gym:sorting", "gym:arithmetic"], None)
    sources = [gym.questions(kind, "test", 2, 3) for kind in ("sorting", "arithmetic")]
    texts = [question.prompt for pair_of in zip(*sources, strict=True) for question in pair_of]
    assert asked == [pair.engine.encode(text) for text in texts]


def test_ratios_are_of_the_same_repeat(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(canvas, "perf_counter", lambda: now[0])

    def way(name: str, seconds: float, same: str = "") -> Way:
        def write(rows):
            now[0] += seconds
            return Written([[1, len(row)] for row in rows], 3, 10)

        return Way(name, write, same, ours=bool(same))

    ways = [way(PLAIN, 4.0), way(DUAL, 2.0), way("ours", 1.0, DUAL)]
    contestants = {contestant.name: contestant for contestant in measure(ways, PROMPTS, 2, 5, alone(ways, PROMPTS))}
    assert contestants[PLAIN].seconds == [8.0] * 5 and contestants["ours"].seconds == [2.0] * 5  # two groups
    assert contestants["ours"].ratios[PLAIN].median == 4.0 and contestants["ours"].ratios[DUAL].median == 2.0
    assert (
        contestants["ours"].speed.median == 3.0
        and contestants["ours"].rounds == 6
        and contestants["ours"].token_forwards == 20
    )
    assert not contestants[PLAIN].ratios
    page = table(
        Comparison(provenance(model="m", count=3, shortest=2, longest=9, max_new_tokens=2), list(contestants.values()))
    )
    assert "4.00 (4.00–4.00)" in page and "ours = plain alone" in page


def side_by_side(theirs, mine, *, batch=3, same=PLAIN):
    """A plain way and one of ours, by what they write to rows side by side; both and what is said of them."""
    ways = [Way(PLAIN, lambda rows: Written(theirs(rows))), Way("ours", lambda rows: Written(mine(rows)))]
    ways[1] = Way("ours", ways[1].write, same, ours=True)
    contestants = measure(ways, PROMPTS, batch, 1, alone(ways, PROMPTS))
    return *contestants, notes(contestants)


def steady(rows):
    return [[len(row)] for row in rows]


def padded(rows):
    """A tie falls to the other side for every row that is padded."""
    return [[len(row) + 50 * (len(row) < max(map(len, rows)))] for row in rows]


def test_a_plain_way_that_is_unlike_itself_is_named_and_says_nothing_against_ours() -> None:
    theirs, ours, said = side_by_side(padded, steady)
    assert (theirs.unsteady, ours.unsteady, ours.differing) == (2, 0, 0) and not theirs.wrong and not ours.wrong
    assert said[0].startswith(f"{PLAIN} alone ≠ in its batch of 3: 2 prompts") and said[1].startswith("ours = plain")
    theirs, ours, said = side_by_side(padded, steady, batch=1)
    assert not theirs.unsteady and len(said) == 1


def test_every_difference_of_ours_is_counted_and_wrong() -> None:
    theirs, ours, said = side_by_side(padded, padded)  # the same as theirs in the batch, and yet another than alone
    assert (ours.unsteady, ours.differing) == (2, 2) and ours.wrong and not theirs.wrong
    assert "ours alone ≠ in its batch of 3: 2 prompts" in said and len(said) == 3
    assert f"ours, batch 3 ≠ {PLAIN} alone: 2 prompts" in said
    _, ours, said = side_by_side(steady, lambda rows: [[0] for _ in rows])
    assert (ours.unsteady, ours.differing) == (0, 3) and ours.wrong and not any("ours =" in line for line in said)
    _, ours, said = side_by_side(steady, padded, same="")  # nobody to be compared with but itself
    assert ours.unsteady == 2 and ours.wrong


def test_a_sampler_whose_padding_is_seen_is_found_out(pairs, monkeypatch, capsys) -> None:
    """The reference with its padding in sight writes other tokens in a batch than alone; the status is of ours."""
    pair = pairs["llada"]
    module, asked = pair.sampler.module, [PROMPTS[1], PROMPTS[2]]
    monkeypatch.setattr(canvas, "load_pair", lambda *_: pair)
    monkeypatch.setattr(canvas, "prompts", lambda *_: asked)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["canvas", "--batch", "2", "--count", "2", "--max-new-tokens", "8", "--repeats", "1"]
    call = parser.parse_args(words)
    assert run(call) == 0 and "≠" not in capsys.readouterr().out
    seeing = module.register_forward_pre_hook(
        lambda _, given, named: (given, named | {"attention_mask": torch.ones_like(named["attention_mask"])}),
        with_kwargs=True,
    )
    try:
        assert run(call) == 0
    finally:
        seeing.remove()
    printed = capsys.readouterr().out
    assert f"{PLAIN} alone ≠ in its batch of 2: 1 prompt; theirs" in printed and "ours = plain alone" in printed
    generate = pair.engine.generate
    monkeypatch.setattr(pair.engine, "generate", lambda *given, **named: generate(*given, **named | {"temperature": 9}))
    assert run(call) == 1
    assert "≠ plain sampler alone: 2 prompts" in capsys.readouterr().out


def test_a_small_network_is_measured_on_both_sides(monkeypatch, tmp_path) -> None:
    small = canvas.random_network
    monkeypatch.setattr(
        canvas, "random_network", lambda seed: small(seed, vocab_size=64, hidden_size=32, num_hidden_layers=2)
    )
    pair = load_pair(canvas.RANDOM, 1)
    ways, asked = ways_of(pair, 32), canvas.prompts(pair, 2, 0, [], None)
    contestants = measure(ways, asked, 2, 1, alone(ways, asked))
    assert not any(contestant.differing or contestant.unsteady for contestant in contestants) and len(contestants) == 6
    found = Comparison(provenance(model=canvas.RANDOM), contestants)
    found.save(tmp_path / "found.json")
    assert Comparison.load(tmp_path / "found.json") == found
