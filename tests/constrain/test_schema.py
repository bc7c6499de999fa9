"""Schemas of any draft in one form, rewritten for masks: nothing valid is lost, what is wrong is refused by path."""

import itertools

import pytest
from llguidance import LLMatcher

from stretto.constrain.forms import schema as schema_of
from stretto.constrain.schema import document
from stretto.constrain.schema.document import read
from stretto.constrain.schema.facts import disjoint, impossible
from stretto.constrain.schema.prepare import prepare
from stretto.constrain.schema.reader import Point
from stretto.constrain.schema.rewrite import Rewriter
from stretto.constrain.schema.validate import Validator
from stretto.errors import InvalidRequest, Unsupported

KEYS = {"a": 1, "b": "x", "c": None}
VALUES = [
    *(None, True, 0, 1, 2, 1.5, "", "a", "ab", "2024-02-29", [], [1], [1, 1], [1, "a"], ["a", 1]),
    *({key: KEYS[key] for key in keys} for size in range(4) for keys in itertools.combinations(KEYS, size)),
]
OLD_AND_NEW = [
    ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
    (
        {"items": [{"type": "integer"}], "additionalItems": False},
        {"prefixItems": [{"type": "integer"}], "items": False},
    ),
    ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
    ({"dependencies": {"a": {"required": ["b"]}}}, {"dependentSchemas": {"a": {"required": ["b"]}}}),
    ({"definitions": {"x": {"type": "null"}}, "$ref": "#/definitions/x"}, {"type": "null"}),
    ({"$defs": {"x": {"$anchor": "n", "type": "null"}}, "$ref": "#n"}, {"type": "null"}),
]
EXACT = [
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"not": {"anyOf": [{"required": ["a"]}, {"minimum": 1}]}},
    {"not": {"type": ["string", "null"]}},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxItems": 1}},
    {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["a"]}}},
    {"propertyNames": {"enum": ["a", "b"]}},
    {"propertyNames": {"pattern": "^[ab]$"}},
    {"enum": [1, "a", "ab", None], "minLength": 2},
    {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
    {"prefixItems": [True], "unevaluatedItems": False},
    {"enum": [*range(1, 260), "a"], "not": {"const": 2}},
    {"not": {"dependentRequired": {"a": ["b", "c"]}}},
    {"not": {"dependentSchemas": {"a": {"required": ["b"]}}}},
    {"oneOf": [{"not": {"required": ["a"]}}, {"dependentSchemas": {"a": False}}]},
    {"allOf": [{"multipleOf": 0.5}, {"multipleOf": 1}, {"not": {"multipleOf": 2}}], "minimum": 0, "maximum": 2},
]
LOOSE = [
    ({"uniqueItems": True}, "#/uniqueItems"),
    ({"contains": {"type": "integer"}}, "#/contains"),
    ({"not": {"pattern": "a"}}, "#/not"),
    ({"not": {"anyOf": [{"multipleOf": 2}, {"type": "object"}]}}, "#/not"),
    ({"format": "regex"}, "#/format"),
    ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "#/oneOf"),
    ({"pattern": "^(?!a)"}, "#/pattern"),
]
WRONG = [
    ({"properties": {"a": {"minLenght": 1}}}, InvalidRequest, "#/properties/a/minLenght"),
    ({"items": {"minimum": "1"}}, InvalidRequest, "#/items/minimum"),
    ({"nullable": True}, Unsupported, "#/nullable"),
    ({"$ref": "#/$defs/none"}, InvalidRequest, "#/$ref"),
    ({"$ref": "https://elsewhere.invalid/x"}, Unsupported, "#/$ref"),
    ({"$schema": "http://json-schema.org/draft-03/schema#"}, Unsupported, "#/$schema"),
]
IMPOSSIBLE = [
    (False, "#"),
    ({"enum": []}, "#/enum"),
    ({"enum": [1], "type": "string"}, "#/enum"),
    ({"type": "string", "minLength": 2, "maxLength": 1}, "#/minLength"),
    ({"type": "object", "required": ["a"], "properties": {"a": {"enum": []}}}, "#/properties/a/enum"),
]


def judged(schema):
    document = read(schema)
    judge = Validator(document)
    return [judge.valid(document.root, value) for value in VALUES]


def refuses(schema):
    return LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema, overrides={"lenient": False}))


def written(schema):
    document = read(schema)
    writer = Rewriter(document, Validator(document))
    return writer.whole(), [*writer.loose.values()]


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_older_spellings_are_read_as_today_s(old, new):
    assert judged(old) == judged(new)
    assert len({*judged(new)}) == 2


@pytest.mark.parametrize("schema", EXACT, ids=str)
def test_what_has_an_equal_form_is_written_so(schema):
    found, loose = written(schema)
    assert not loose
    assert judged(found) == judged(schema)


@pytest.mark.parametrize(("schema", "pointer"), LOOSE, ids=str)
def test_what_has_none_is_left_to_the_judge_and_nothing_valid_is_lost(schema, pointer):
    found, loose = written(schema)
    assert loose == [pointer]
    assert all(wide or not valid for wide, valid in zip(judged(found), judged(schema), strict=True))


def test_masks_let_through_no_kind_of_value_that_a_not_shuts_out_as_a_whole():
    found, _ = written({"not": {"allOf": [{"pattern": "a"}, {"maxLength": 4}]}})
    assert {type(value) for value, wide in zip(VALUES, judged(found), strict=True) if wide} == {str}


@pytest.mark.parametrize(("schema", "error", "pointer"), WRONG, ids=str)
def test_what_is_wrong_is_refused_by_path(schema, error, pointer):
    with pytest.raises(error) as refusal:
        read(schema)
    assert refusal.value.message.startswith(pointer)
    assert refusal.value.hint


def nested(*, depth, name):
    """Schemas in whose rewriting each level is written twice."""
    found = {"minimum": 0}
    for _ in range(depth):
        found = {"oneOf": [{name: {"a": found}}, {"required": ["b"]}]}
    return found


MANY = {"oneOf": [{"required": [key], "properties": {key: {"const": 1}}} for key in map(str, range(60))]}


@pytest.mark.parametrize(
    ("schema", "pointer", "reason"),
    [
        (nested(depth=9, name="properties"), "#/oneOf/0/properties/a", ""),
        (MANY, "#/oneOf/", ""),
        ({"enum": [*range(70)], "allOf": [{"enum": [*range(70)]}]}, "#/allOf/0", ""),
        ({"properties": {key: {"uniqueItems": True, "pattern": "(?=a)"} for key in "abcdef"}}, "#", "no"),
    ],
)
def test_what_takes_too_many_steps_is_refused_where_they_end(schema, pointer, reason, monkeypatch):
    monkeypatch.setattr(document, "MOST", 400)
    with pytest.raises(Unsupported, match="than 400 steps to make ready") as refusal:
        prepare(schema, lambda made: reason)
    assert refusal.value.message.startswith(pointer) and refusal.value.hint


def test_what_is_nested_too_deep_is_served_by_a_judge_or_refused():
    assert schema_of(nested(depth=24, name="properties"))
    for deep in (nested(depth=300, name="properties"), '{"not":' * 100_000):
        with pytest.raises(InvalidRequest, match="no JSON"):
            schema_of(deep)


def test_what_a_text_holds_is_refused_where_it_asserts_something():
    schema = {"contentMediaType": "application/json"}
    with pytest.raises(Unsupported, match=r"^#/contentMediaType"):
        read({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})
    assert read(schema).root == {}


def test_keys_stand_in_the_order_in_which_they_are_given():
    given = {key: ["z"] for key in "hgfedcba"}
    assert [*read({"dependencies": given}).root["dependentRequired"]] == [*given]


@pytest.mark.parametrize("word", ["x-minimum", "title", "vendor", "$comment", "_format"])
def test_notes_pass(word):
    assert read({word: 1}).root == {}


@pytest.mark.parametrize(("schema", "pointer"), IMPOSSIBLE, ids=str)
def test_what_nothing_satisfies_is_known_by_path(schema, pointer):
    document = read(schema)
    assert impossible(document, Validator(document), document.root) == pointer


def test_proofs_are_right():
    """Whatever is told to share no value shares none of these."""
    schemas = [*EXACT, *(schema for schema, _ in LOOSE), *(new for _, new in OLD_AND_NEW)]
    document = read({"$defs": {str(at): schema for at, schema in enumerate(schemas)}, "anyOf": [*schemas]})
    judge, branches = Validator(document), document.root["anyOf"]
    proven = 0
    for left, right in itertools.combinations(branches, 2):
        if disjoint(document, judge, left, right):
            proven += 1
            assert not any(judge.valid(left, value) and judge.valid(right, value) for value in VALUES)
    assert proven


FORMATS = {
    "date": (["2024-02-29", "2000-02-29"], ["2023-02-29", "1900-02-29", "2024-04-31"]),
    "time": (["23:59:60Z", "15:59:60.5-08:00", "01:02:03+05:30"], ["23:58:60Z", "22:59:60+01:00", "24:00:00Z"]),
    "duration": (["P1Y2M3DT4H5M6S", "PT1S", "P2W"], ["P", "PT", "P1Y2D", "P1WT1H"]),
    "ipv6": (
        ["::", "1::", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"],
        ["1:2:3:4:5:6:7", "::1::", "1:2:3:4:5:6:7:1.2.3.4"],
    ),
    "hostname": (["a", "a-b.example", "a" * 63], ["-a", "a-", "ab--c", "a" * 64, ".".join(["abc"] * 64)]),
    "email": (["a.b@c.de", '"a b"@[1.2.3.4]', "a@[IPv6:::1]"], ["a..b@c.de", "a@[1.2.3.256]", "a@"]),
    "uri": (["http://a.b:80/c?d#e", "urn:x", "http://[::1]/"], ["//a.b", "http://[1]/", "a b:c", "x:%z"]),
    "uri-reference": (["//a.b", "c?d", "", "./a:b"], ["\\a", "1:b", "%"]),
    "regex": (["^a(?=b)[c-e]$"], ["(", "[b-a]"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_texts_of_a_format_are_those_of_its_definition(name):
    document = read({"format": name})
    judge = Validator(document)
    for texts, expected in zip(FORMATS[name], (True, False), strict=True):
        for text in texts:
            assert judge.valid(document.root, text) == expected, text
    assert judge.valid(document.root, 1)


@pytest.mark.parametrize(
    ("schema", "pointers"),
    [
        (
            {"items": {"patternProperties": {"a": {"type": "integer"}, "b": True}, "additionalProperties": False}},
            ["#/items/additionalProperties", "#/items/patternProperties"],
        ),
        ({"properties": {"a": {"$ref": "#", "minProperties": 1}}, "type": "object"}, ["#/properties/a/$ref"]),
        (
            {"allOf": [{"patternProperties": {"a": True}}, {"patternProperties": {"b": False}}], "maxItems": 3},
            ["#/allOf/0/patternProperties"],
        ),
    ],
)
def test_what_masks_refuse_is_found_and_left_to_the_judge(schema, pointers):
    found = prepare(schema, refuses)
    assert not refuses(found.schema)
    assert found.residues == pointers
    document, judge = read(schema), found.judge
    whole = Validator(document)
    for value, masked in zip(VALUES, judged(found.schema), strict=True):
        valid = whole.valid(document.root, value)
        assert masked or not valid
        assert (masked and judge.ends_well(Point(root=value))) == valid
