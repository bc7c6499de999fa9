"""`stretto methods NAME`: the page of a system, of a part, of a method put together."""

from __future__ import annotations

import re

import pytest

from stretto import catalogue, cli, method
from stretto.cli.explain import ASIDE, OUTPUT, page, summary
from stretto.entry import Guarantee
from stretto.family import families


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = cli.main(["methods", *arguments])
        return status, *capsys.readouterr()

    return call


def squeezed(text):
    return " ".join(text.split())


def test_a_system_says_whose_it_is_what_it_needs_and_how_it_is_called(run):
    status, printed, _ = run("freedave-plus")
    assert status == 0
    entry = catalogue.entries()["freedave-plus"]
    for told in ("(number 26", entry.summary, entry.source, "masked-diffusion model", f"made of {entry.parts}"):
        assert told in squeezed(printed)
    assert 'stretto generate --model zoo/masked --method freedave-plus "…"' in printed
    assert re.search(r"^  guesser    freedave ", printed, re.MULTILINE)
    assert re.search(r"^ +subset = true  \(the subset rule\)$", printed, re.MULTILINE)
    assert "depth = 4" not in printed  # as it is anyway


@pytest.mark.parametrize("name", catalogue.entries())
def test_every_system_has_a_page_and_its_command_is_one(name):
    entry, told = catalogue.entries()[name], page(name)
    assert squeezed(entry.summary) in squeezed(told) and max(map(len, told.splitlines())) < 200
    assert (
        entry.family in {"diagnostics", "heads", *ASIDE, *(family.name for family in families())}
        and entry.guarantee.value in OUTPUT
    )
    if not entry.command:
        assert method.parse(name) == method.parse(entry.parts)
        assert f"--method {name} " in told


@pytest.mark.parametrize("name", catalogue.parts())
def test_every_part_says_what_it_is_and_what_can_be_set(name):
    told = squeezed("\n".join([page(name)]))
    assert squeezed(summary(catalogue.parts()[name])) in told and catalogue.parts()[name].kind in told


def test_a_part_names_the_systems_that_use_it(run):
    printed = run("threshold")[1]
    assert printed.startswith("threshold (order)\n") and "least = 0.9" in printed
    used = re.search(r"used by (.*)", printed, re.DOTALL)[1].replace("\n", "").replace(" ", "").split(",")
    assert {"fast-dllm", "credit-decoding"} <= set(used) and "ete" not in used
    assert "hierspec" in run("hierarchy")[1] or "used by" in run("hierarchy")[1]


def test_a_method_put_together_shows_its_parts(run):
    printed = run("threshold(0.8)+dual-cache+credit")[1]
    assert re.findall(r"^  (\w+) +([\w-]+) ", printed, re.MULTILINE) == [
        ("order", "threshold"),
        ("blocks", "blocks"),
        ("refresh", "dual-cache"),
        ("stop", "fill"),
        ("adjustment", "credit"),
    ]
    assert "least = 0.8" in printed
    assert "--model zoo/masked --method 'threshold(least=0.8)+dual-cache+credit'" in printed
    assert "zoo/masked" not in run("lookup+fixed(4)")[1]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("fast-dlm",), "did you mean 'fast-dllm'"),
        (("threshold+cedit",), "did you mean 'credit'"),
        (("ete", "--json"), "leave out"),
        (("ete", "--parts"), "not allowed"),
    ],
)
def test_mistakes_are_named(run, arguments, hint):
    status, _, complaint = run(*arguments)
    assert status == 2 and hint in complaint


def test_all_guarantees_are_explained():
    assert set(OUTPUT) == {guarantee.value for guarantee in Guarantee}
