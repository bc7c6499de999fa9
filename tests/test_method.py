from __future__ import annotations

import pytest

from stretto import catalogue, method
from stretto.entry import Guarantee
from stretto.errors import InvalidRequest, UnknownName, Unsupported
from stretto.family import families
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.speculate.contract import Acceptor
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.family import beside
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.cheapest import Cheapest
from stretto.speculate.planners.fixed import Fixed


@pytest.mark.parametrize(
    ("text", "draft", "plan"),
    [
        ("plain", None, Cheapest()),
        ("lookup", Lookup(), Cheapest()),
        (" lookup( 4 , matches = 2 ) + fixed(8, depth=3)", Lookup(4, matches=2), Fixed(8, 3)),
        ("draft(model=zoo/draft)+exact+cheapest(most=4)", DraftModel("zoo/draft"), Cheapest(4)),
        ("fixed(3)+lookup", Lookup(), Fixed(3)),
        ("prompt-lookup", Lookup(), Cheapest()),
        ("draft-model", DraftModel(), Cheapest()),
    ],
)
def test_text_form(text, draft, plan):
    parsed = method.parse(text)
    assert (parsed.draft, parsed.plan) == (draft, plan)
    assert method.parse(method.describe(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("lokup", UnknownName, "did you mean 'lookup'"),
        ("lookup(longst=2)", InvalidRequest, "did you mean 'longest'"),
        ("lookup(1,2,3,4,5,6)", InvalidRequest, "its settings: longest"),
        ("lookup(longest=0)", InvalidRequest, "1 <= shortest"),
        ("lookup+draft", InvalidRequest, "two of a kind, drafter"),
        ("fixed(3)", InvalidRequest, "no drafter"),
        ("plain(3)", InvalidRequest, "'plain' has no settings"),
        ("lookup" * 99, UnknownName, "...okuplookup"),
        ("plain+lookup", InvalidRequest, "drafts nothing"),
        ("plain+mirostat_v3(5)", UnknownName, "no method or part is named 'mirostat_v3'"),
        ("lookup((", InvalidRequest, "cannot read"),
        ("lookup+fixed(-1)", InvalidRequest, "nodes >= 0"),
        ("lookup+fixed(two)", InvalidRequest, "nodes of 'fixed' is 'two', a value of the wrong kind"),
        ("", InvalidRequest, "empty"),
    ],
)
def test_mistakes_are_named(text, error, message):
    with pytest.raises(error) as caught:
        method.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.hint


class Picky(Acceptor):
    name = "picky"
    accepts = frozenset()

    def accept(self, target):
        raise NotImplementedError


def test_parts_that_do_not_fit_are_refused():
    model = TableModel.random(3, 0)
    with pytest.raises(Unsupported, match="'picky' cannot judge the point proposals"):
        method.check(Speculate(Lookup(), Picky(), Fixed()), model)
    model.abilities = model.abilities & ~model.abilities
    method.check(method.parse("lookup"), model)
    with pytest.raises(Unsupported, match="needs tree"):
        method.check(method.parse("lookup(matches=2)"), model)


def test_every_entry_parses_and_every_part_is_reachable():
    for entry in catalogue.entries().values():
        if entry.command:  # no way of decoding
            with pytest.raises(InvalidRequest, match=f"no way of decoding .hint: see `{entry.command}`"):
                method.parse(entry.name)
        else:
            method.parse(entry.parts)
        assert entry.source and entry.summary and isinstance(entry.guarantee, Guarantee)
    for name, part in catalogue.parts().items():
        assert part.name == name
        assert part.kind in {"steer", "store", *(kind for family in families() for kind in family.kinds)}
        assert (part.__doc__ or "").strip()


def test_systems_that_are_steers_or_constraints_stand_beside_other_parts():
    found = method.parse("lookup+text-guidance+regex-mask")
    assert method.describe(found) == 'lookup+guide(scale=1.5)+regex(pattern="[a-z .]*")'
    assert method.parse("text-guidance") == method.parse("plain+guide(1.5)")


def test_auto_fuses_what_suits_the_model_and_a_draft_that_lies_beside_it(tmp_path):
    target, draft = tmp_path / "target", tmp_path / "draft"
    for folder in (target, draft):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}")
    model = TableModel.random(4, seed=0)
    names = lambda found: [part.name for part in found.draft.parts]  # noqa: E731
    assert names(method.complete(method.parse("auto"), model)) == ["suffix"]  # so small that bookkeeping costs more
    model.channels = 4000
    assert names(method.complete(method.parse("auto"), model)) == ["pool"]
    model.name = str(target)
    assert names(method.complete(method.parse("auto"), model)) == ["pool", "draft"]
    chained = TableModel.random(4, seed=0)
    chained.name, chained.abilities = str(target), Ability.NONE  # one drafter of chains is what it can verify
    alone = method.complete(method.parse("auto"), chained)
    assert names(alone) == ["suffix"]
    method.check(alone, chained)
    (draft / "tokenizer.json").write_text("{ }")  # another one
    assert beside(model) == []
    chosen = method.parse("auto(lookup,draft)")
    assert method.complete(chosen, model) is chosen
    plain = method.parse("plain")
    assert method.complete(plain, model) is plain
