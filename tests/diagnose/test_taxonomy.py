"""The map of the methods: every entry has its flags, they fit what its parts promise, and the page is not stale."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from laws.test_speculation import registered
from stretto import catalogue, entry, method
from stretto.cli.methods import flags_of, taxonomy
from stretto.diagnose.taxonomy import COMMAND, HEAD, LINKS, QUALITY, classify, page
from stretto.entry import Entry, Guarantee
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.loop import Speculate

PAGE = Path(__file__).parents[2] / "docs" / "taxonomy.md"
METHODS = {name: found for name, found in catalogue.entries().items() if not found.command}
STRENGTH = [Guarantee.NONE, Guarantee.APPROXIMATE, Guarantee.DEFINED, Guarantee.DISTRIBUTION, Guarantee.EXACT]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_all_flags(name):
    flags = flags_of(METHODS[name])
    for flag in ("generation", "refinement", "system", "modality", "training", "branch"):
        assert getattr(flags, flag) in get_args(getattr(entry, flag.capitalize())), flag
    assert flags.models in {"one", "two"}


@pytest.mark.parametrize("name", METHODS)
def test_no_method_promises_more_than_its_parts(name):
    found, parsed = METHODS[name], method.parse(METHODS[name].parts)
    assert STRENGTH.index(found.guarantee) <= STRENGTH.index(parsed.guarantee)
    assert flags_of(found).lossless == (found.guarantee in (Guarantee.EXACT, Guarantee.DISTRIBUTION))
    if flags_of(found).lossless:  # then the laws try its drafter
        assert isinstance(parsed, Speculate)
        tried = {type(drafter) for drafter in registered().values()}
        assert parsed.draft is None or type(parsed.draft) in tried


def test_flags_that_are_not_stated_are_derived():
    def made(**more):
        return Entry("x", "speculate", "a source", "x", Guarantee.EXACT, **more)

    copying, drafting = made(), made(needs=("draft model",))
    assert classify(made(), None, [], "").branch == classify(made(), None, [], "").generation == "none"
    assert classify(copying, Lookup(), [copying], "exact").generation == "retrieval"
    assert classify(copying, Lookup(), [copying], "exact").refinement == "chain"
    assert classify(copying, Lookup(matches=2), [copying], "exact").refinement == "tree"
    found = classify(drafting, DraftModel(), [drafting], "exact")
    assert (found.generation, found.models, found.branch) == ("own model", "two", "speculative")
    assert classify(made(), DraftModel(), [drafting], "exact").generation == "own model"  # by its drafter's entry
    assert classify(made(needs=("masked-diffusion model",)), None, [], "").models == "one"
    stated = made(generation="fill")
    assert classify(stated, Lookup(), [copying], "exact").refinement == "iterative"
    assert classify(copying, Lookup(), [copying, copying, copying], "exact").generation == "retrieval"
    assert classify(copying, Lookup(), [copying, copying, stated], "exact").generation == "mixed"
    assert classify(drafting, Lookup(), [drafting, copying], "exact").generation == "mixed"


def test_the_branches_and_risks_are_all_told():
    assert set(LINKS) == set(get_args(entry.Branch)) and set(QUALITY) == set(Guarantee)


def test_the_page_holds_every_entry_and_quotes_what_would_break_a_table():
    written = taxonomy()
    for name, found in catalogue.entries().items():
        lines = 1 if found.command else 3 if found.family == "diffusion" else 2  # those have a table of their own
        assert sum(line.startswith(f"| {name} |") for line in written.splitlines()) == lines
    odd = Entry("o|dd", "speculate", "a source", "x", Guarantee.EXACT)
    assert "| o\\|dd |" in page([(odd, classify(odd, None, [], ""))])


def test_the_page_in_the_docs_is_not_stale():
    """Each line is as the registry would write it now; methods that are new may wait for the next writing."""
    written, kept = taxonomy(), PAGE.read_text(encoding="utf-8")
    assert kept.startswith(HEAD)
    for line in kept.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            assert line in written, f"run {COMMAND} > docs/{PAGE.name}"
