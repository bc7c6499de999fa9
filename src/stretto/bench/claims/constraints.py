"""Claims about constraints on whole answers: names that exist, circuits, codes, and labels that are never written."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter, defaultdict
from statistics import fmean

from ...constrain.circuit import Circuit
from ...constrain.listed import Listed
from ...constrain.loco import Loco
from ...constrain.members import PythonMembers
from ...constrain.tokens import Tokens
from ...constrain.without import Without
from ...engine import Engine
from ...gym.words import COMMON
from ...models.table import TableModel
from .contract import Claim, Figures, at_least, at_most, equal
from .lab import Lab, Worked

DEREFERENCES = 24
CLASS = "a class of five fields, one of which is printed twice"
LISTS = 12
NAMES = tuple(f"{one} and {other}" for one in COMMON[:40] for other in COMMON[40:60])
CIRCUITS = 60
LETTERS = "abcABC&!"
LINES = ("x=f(a)", "x=safe(a)", "y=g(x)", "return y")
UNSAFE, LABEL = "x=eval(a)", "<unsafe>"


def members(lab: Lab) -> Figures:
    """What stands behind the dot of an object whose class is in the prompt: a member, and the one that is asked for."""
    rng, engine = random.Random(lab.seed), _engine(lab)
    right: dict[str, list[tuple[bool, bool]]] = {"plain": [], "watched": []}
    for _ in range(lab.count or DEREFERENCES):
        owner, *fields = rng.sample(COMMON, 6)
        wanted = rng.choice(fields)
        made = [f"class {owner.title()}:", *(f"    {name} = {rng.randrange(100)}" for name in fields), "", ""]
        told = f"print({owner}.{wanted})  # the {wanted} of the {owner}"
        source = "\n".join([*made, f"{owner} = {owner.title()}()", told, f"print({owner}."])
        for name, constraint in (("plain", None), ("watched", PythonMembers(source))):
            text = engine.generate(source, "plain", constraint=constraint, max_new_tokens=8).text
            said = re.split(r"\W", text)[0]
            right[name].append((said in fields, said == wanted))
    return {
        f"{what}, {name}": fmean(each[at] for each in found)
        for at, what in enumerate(("a member", "the right one"))
        for name, found in right.items()
    }


def listed(lab: Lab) -> Figures:
    """Lists of three names out of 800, drawn at temperature 1: how many of the names there are, each once."""
    engine, figures = _engine(lab), Figures()
    for name, constraint in (("plain", None), ("listed", Listed(NAMES, most=3))):
        shares = []
        for seed in range(lab.count or LISTS):
            settings = {"temperature": 1.0, "seed": seed, "max_new_tokens": 40}
            said = engine.generate("Three tales that are worth reading:\n", "plain", constraint=constraint, **settings)
            lines = said.text.split("\n")[:3]
            shares.append(len(set(lines) & set(NAMES)) / max(1, len(lines)))
        figures[f"names that exist, {name}"] = fmean(shares)
    return figures


def circuits(lab: Lab) -> Figures:
    """Random tables write circuits of three inputs, alone and under the mask; of eight the smallest is kept."""
    rng = random.Random(lab.seed)
    tokens = Tokens([*(letter.encode() for letter in LETTERS), None], frozenset({len(LETTERS)}))
    valid, sized = [], []
    for at in range(lab.count or CIRCUITS):
        asked = Circuit((_circuit(rng, rng.randint(3, 6)),))
        texts = [_written(TableModel.random(len(LETTERS), seed=8 * at + of), asked, tokens, rng) for of in range(8)]
        free = "".join(rng.choices(LETTERS, k=2 * asked.size + 1))
        sizes = [text.count("&") + text.count("!") for text in texts]
        valid.append((asked.equals(free), all(map(asked.equals, texts))))
        sized.append((asked.size, sizes[0], min(sizes)))
    return {
        "equivalent, alone": fmean(each[0] for each in valid),
        "equivalent, masked": fmean(each[1] for each in valid),
        "gates, given": fmean(each[0] for each in sized),
        "gates, first": fmean(each[1] for each in sized),
        "gates, of eight": fmean(each[2] for each in sized),
    }


def _circuit(rng: random.Random, gates: int) -> str:
    if not gates:
        return rng.choice(LETTERS[:6])
    left = rng.randrange(gates)
    return rng.choice("&!") + _circuit(rng, left) + _circuit(rng, gates - 1 - left)


def _written(model: TableModel, asked: Circuit, tokens: Tokens, rng: random.Random) -> str:
    """A circuit drawn by a table, masked at each step."""
    state, path = asked.open(tokens), [0]
    while not state.complete:
        able = state.allowed().nonzero()[0].tolist()
        odds = model.rule(tuple(path))
        path += rng.choices(able, [math.exp(odds[token]) for token in able])
        state.advance(path[-1])
    return "".join(LETTERS[token] for token in path[1:])


def codes(lab: Lab) -> Figures:
    """All codewords of 4 to 8 symbols with each of their symbols wrong in each way; two wrong in 400 of six."""
    mended = total = 0
    bits = []
    for length in range(4, 9):
        code = Loco(length)
        bits.append(math.log2(code.code.modulus) - 2 * math.log2(length))
        for word in map(code.encode, range(code.codewords)):
            for at, wrong in itertools.product(range(length), set(code.symbols)):
                total += wrong != word[at]
                mended += wrong != word[at] and code.correct(word[:at] + wrong + word[at + 1 :]) == word
    bits += [math.log2(Loco(length).code.modulus) - 2 * math.log2(length) for length in (10, 12, 16)]
    return {"mended": mended / total, "bits over 2 log₂ m, least": min(bits), "bits over 2 log₂ m, most": max(bits)}


def labels(lab: Lab) -> Figures:
    """Odds counted in code whose unsafe lines bear a label, 95 of 100; answers with the label allowed, and without."""
    rng = random.Random(lab.seed)
    words = [*LINES, UNSAFE, LABEL]
    follow: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for _ in range(4000):
        lines: list[int] = []
        for _ in range(6):
            line = rng.choices(range(5), (3, 2, 3, 2, 4))[0]
            lines += [5] * (line == 4 and rng.random() < 0.95) + [line]
        for at in range(len(lines)):
            follow[tuple(lines[max(0, at - 2) : at])][lines[at]] += 1

    def rule(path: tuple[int, ...]) -> list[float]:
        counts = follow.get(path[1:][-2:], Counter())
        return [math.log(counts[token] + 0.01) for token in range(len(words))]

    engine = Engine(TableModel(len(words), rule))
    pieces = Tokens([word.encode() for word in words])
    engine.context().remembered(Tokens, frozenset(), lambda: pieces)
    figures = Figures()
    for name, constraint in (("allowed", None), ("banned", Without((LABEL,)))):
        settings = {"temperature": 1.0, "seed": lab.seed, "samples": 300, "max_new_tokens": 6, "end_tokens": ()}
        found = engine.generate([[0]], "plain", constraint=constraint, **settings)
        figures[f"unsafe, label {name}"] = fmean(4 in answer.tokens for answer in found)
    return figures


def _engine(lab: Lab) -> Engine:
    lab.subject.replayed.follow(None)
    return lab.subject.engine


CLAIMS = (
    Claim(
        "monitor-guided",
        "monitor-guided",
        "what stands behind a dot is always a member, and the right one more often than without",
        "share of names",
        Worked(
            members,
            f"`plain` alone and under `members` on {DEREFERENCES} prompts with {CLASS}; T=0",
        ),
        (
            equal("a member, watched", 1.0),
            at_most("a member, plain", 0.99),
            at_least("the right one, watched", 1.0, "the right one, plain"),
        ),
        number=20,
    ),
    Claim(
        "circuit-transformer",
        "circuit-transformer",
        "no circuit that is finished differs from the given one, and among several there are smaller ones",
        "share of circuits that are equivalent; gates",
        Worked(
            circuits, f"random tables on {CIRCUITS} circuits of three inputs, alone, under `circuit`, and eight times"
        ),
        (
            equal("equivalent, masked", 1.0),
            at_most("equivalent, alone", 0.5),
            at_most("gates, of eight", 0.9, "gates, given"),
            at_most("gates, first", 1.0, "gates, given"),
        ),
        number=77,
    ),
    Claim(
        "corpuslm-ids",
        "corpuslm-ids",
        "every name in a ranked list is a document's, and none comes twice",
        "share of the first three lines that are names, each once",
        Worked(listed, f"`plain` alone and under `listed` of {len(NAMES)} names, {LISTS} lists; T=1"),
        (equal("names that exist, listed", 1.0), at_most("names that exist, plain", 0.5)),
        number=170,
    ),
    Claim(
        "vulnerability-constrained",
        "vulnerability-constrained",
        "67 % of the unsafe lines that a model has learnt to label go once the label is banned",
        "share of answers with an unsafe line",
        Worked(labels, "tables counted in 4,000 programs, `plain` alone and under `without`; 300 answers, T=1"),
        (at_most("unsafe, label banned", 0.4, "unsafe, label allowed"), at_least("unsafe, label allowed", 0.3)),
        number=211,
    ),
    Claim(
        "ec-d-loco",
        "ec-d-loco",
        "one wrong symbol is always mended, for about 2 log₂ m bits and a constant",
        "share of wrong symbols that are mended; bits",
        Worked(codes, "all words of `loco(m)`, m 4 to 8, with each symbol wrong in each way; moduli to m = 16"),
        (
            equal("mended", 1.0),
            at_least("bits over 2 log₂ m, least", 0.0),
            at_most("bits over 2 log₂ m, most", 6.0),
        ),
        number=213,
    ),
)
