"""The support page: it is what the checks say now, it agrees with what entries declare, and the engine does so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from diffuse.filters import filter_file
from laws.stores import even_store, random_store
from laws.worlds import LastTwo
from route.pairs import WORDS, Words
from stretto import catalogue
from stretto.cli import main
from stretto.cli.methods import FILLED, door, planned, suiting
from stretto.diagnose.support import ABILITIES, ASKS, COMMAND, Ask, line_of, page, refusal, required
from stretto.engine import Engine
from stretto.entry import Entry, Guarantee
from stretto.errors import Unsupported
from stretto.generation import Generation
from stretto.method import Method, parse
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Ability, masking_of
from stretto.models.table import MaskedTable

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
METHODS = {name: found for name, found in catalogue.entries().items() if not found.command}
V = len(WORDS)


def parts_of(name: str) -> str:
    return FILLED.get(name, METHODS[name].parts)


def test_the_page_in_the_docs_is_not_stale(capsys):
    """Each line is as it would be written now, footnotes by their words; new methods may wait for the next writing."""

    def lines(text: str) -> list[str]:
        notes = dict(re.findall(r"^\[\^(\d+)\]: (.*)$", text, re.MULTILINE))
        told = re.sub(r"\[\^(\d+)\](?!:)", lambda match: f" ({notes[match[1]]})", text)
        return [line for line in told.splitlines() if not line.startswith("[^")]

    assert main(["methods", "--support"]) == 0
    written = lines(capsys.readouterr().out)
    for line in lines(PAGE.read_text(encoding="utf-8")):
        assert line in written, f"run {COMMAND} > docs/{PAGE.name}"


def test_a_line_by_hand():
    """What is refused in one kind of request only, for one setting only, and for want of an ability: two kinds, two."""

    def picky(parts, ask, settings, abilities):
        if "top_p" in settings:
            raise Unsupported("no top-p", hint="use top-k")
        if ask.streamed:
            raise Unsupported("no | stream")
        if settings.get("samples", 1) > 1 and Ability.EMBEDS not in abilities:
            raise Unsupported("no embeddings")
        if ask.prompts > 1 and Ability.TREE not in abilities:
            raise Unsupported("no trees")
        assert parts == "x(1)"

    entry = Entry("x", "speculate", "a source", "x", Guarantee.DISTRIBUTION, needs=("tree windows", "a map"))
    notes = {"something else": 1}
    assert line_of(entry, "x(1)", picky, notes) == (
        "| x<br>`x(1)` | distribution | yes | yes | yes | no[^2] | yes | yes | yes | no[^3] | yes "
        "| tree windows, embeddings as input | a map |"
    )
    assert list(notes) == ["something else", "no top-p: use top-k", "no | stream: "]
    assert page([entry, entry], picky, {"x": "x(1)"}).endswith("\n\n[^1]: no top-p: use top-k\n[^2]: no | stream: \n")


@pytest.mark.parametrize("name", METHODS)
def test_what_an_entry_needs_of_the_target_is_what_the_check_asks_for(name):
    declared = {need for need in METHODS[name].needs if need in ABILITIES.values()}
    assert {ABILITIES[ability] for ability in required(parts_of(name), door)} == declared


def test_every_ability_has_words():
    assert set(ABILITIES) == set(Ability.ALL)


def engine(parts: str = "plain") -> Engine:
    """Over a table of the kind that the method is for; the mask, where there is one, is the special token."""
    masking = masking_of(suiting(planned(parts, "")))
    target = LastTwo(V, seed=1)
    if masking is not None:
        target = MaskedTable.random_masked(V, 3, replace(masking, mask=0))
    made = Engine(target, Words(), clock=SimulatedClock())
    made._drafts["zoo/draft"] = LastTwo(V, seed=2)
    return made


# A store in the place of the default path, words and texts that this world has.
HERE = {
    "store": f"store(path={random_store(V)})",
    "rasd(draft-tree,store)": f"rasd(draft-tree,store(path={random_store(V)}))",
    "codeswift": f"codeswift(path={random_store(V)})",
    "jacobi(block=64,blocks=2,pool=4)+fixed(640)": "jacobi(block=6,blocks=2,pool=4)+fixed(60)",
    "position-aware": f"position-aware(path={even_store(V)})",
    "superposed(text=FILE)": "superposed(alpha=0)",
    "refine(critic=doubt,keep=last,rounds=2)": "refine(critic=doubt(he,he,she),keep=last,rounds=2)",
    "reflect": "reflect(every=2,limit=1,question=he,bad=sings,good=she,lead=he)",
    "learned(file=FILE)+blocks(32)+end-of-text": f"learned(file={filter_file(32)})+blocks(32)+end-of-text",
}
# Their language cannot be said in this world's words; tests/diffuse and tests/constrain decode with them.
ELSEWHERE = {
    "cfg-diffusion",
    "lave",
    "grammar-mask",
    "choices-mask",
    "circuit-transformer",
    "corpuslm-ids",
    "ec-d-loco",
    "reward-ranker",  # its head is of the shipped model: tests/search/test_value.py
    *("medusa", "hydra", "eagle"),  # and so are theirs: tests/laws/test_heads.py
}
PROMPTS = ["he sings", "she", "she sings.he sings she", "he"]


LENGTH = 4


def put(made: Engine, method: Method, ask: Ask, settings: Mapping[str, Any]) -> list[Generation]:
    """The request itself, answered by an engine."""
    more = {"max_new_tokens": LENGTH, **settings}
    if ask.streamed:
        stream = made.stream(PROMPTS[0], method, **more)
        pieces = list(stream)
        assert "".join(piece.text for piece in pieces) == stream.generation.text
        assert [token for piece in pieces for token in piece.tokens] == stream.generation.tokens
        return [stream.generation]
    found = made.generate(PROMPTS[: ask.prompts] if ask.prompts > 1 else PROMPTS[0], method, **more)
    return found if isinstance(found, list) else [found]


def look(answers: list[Generation], ask: Ask, settings: Mapping[str, Any]) -> None:
    """As far as the column says something of the answers."""
    assert len(answers) == ask.prompts * settings.get("samples", 1)
    for answer in answers:
        assert answer.error is None and len(answer.tokens) == LENGTH
        if "log_probabilities" in settings:
            assert [report.token for report in answer.log_probabilities] == answer.tokens
            assert all(len(report.top_raw) == settings["log_probabilities"] for report in answer.log_probabilities)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - ELSEWHERE))
def test_the_engine_really_does_or_refuses_so(name):
    """Served requests are answered, and where the column of the output says so with the tokens of plain decoding."""
    parts, made = HERE.get(parts_of(name), parts_of(name)), engine(parts_of(name))
    for column, ask in enumerate(ASKS):
        refused = refusal(parts, ask, door, LastTwo.abilities)
        if refused is not None:
            alone = [replace(ask, settings=(settings,)) for settings in ask.settings]
            barred = next(each for each in alone if refusal(parts, each, door, LastTwo.abilities))
            with pytest.raises(type(refused)) as raised:
                put(made, planned(parts, ask.planner), ask, barred.settings[0])
            assert (raised.value.hint, type(raised.value)) == (refused.hint, type(refused))
            continue
        for at, settings in enumerate(ask.settings):
            answers = put(made, planned(parts, ask.planner), ask, settings)
            look(answers, ask, settings)
            same = {Guarantee.EXACT: True, Guarantee.DISTRIBUTION: not settings.get("temperature")}
            if same.get(METHODS[name].guarantee, False):
                assert [answer.tokens for answer in answers] == plainly(column, at), (ask.title, settings)


@cache
def plainly(column: int, setting: int) -> list[list[int]]:
    """Plain decoding's tokens for one of the requests of a column."""
    ask = ASKS[column]
    return [answer.tokens for answer in put(engine(), parse("plain"), ask, ask.settings[setting])]
