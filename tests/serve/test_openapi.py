"""The document for machines says what the table of fields says; and no body at all makes the server fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")

from serve.test_fields import BARE, WRONG
from stretto.serve.app import application
from stretto.serve.fields import ONLY_OF, PATHS, known
from stretto.serve.openapi import document

DOCUMENT = document()
PATH_OF = {endpoint: path for path, endpoint in PATHS.items()}


def body(path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {**found, "components": DOCUMENT["components"]}


@pytest.mark.parametrize("endpoint", BARE)
def test_the_document_has_each_field_and_judges_bodies_as_they_are_read(endpoint: str) -> None:
    schema = body(PATH_OF[endpoint])
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema).is_valid
    assert sorted(schema["properties"]) == sorted(known(endpoint))
    assert valid(BARE[endpoint]) and not valid({})
    for name in known(endpoint):
        assert valid({**BARE[endpoint], name: None}) == (name not in BARE[endpoint])
        if name in ONLY_OF[endpoint]:
            assert not valid({**BARE[endpoint], name: "no such value"})
    told = [fields for at, fields, named in WRONG if at == endpoint and named not in known(endpoint)]
    assert not any(valid({**BARE[endpoint], **fields}) for fields in told)
    assert valid({**BARE[endpoint], "temperature": 0.5, "stop": ["a"], "logit_bias": {"5": 1.5}, "seed": 3})
    assert not valid({**BARE[endpoint], "temperature": "hot"}) and not valid({**BARE[endpoint], "top_k": 1.5})


def test_the_document_has_each_path(live: Any) -> None:
    paths = {route.path for route in application(live.service).routes}
    assert paths - {*DOCUMENT["paths"]} == {"/", "/v1/embeddings", "/v1/models/{name:path}", "/openapi.json"}
    assert not {*DOCUMENT["paths"]} - paths
    assert live.ask("/openapi.json")[2] == DOCUMENT


LEAVES = st.none() | st.booleans() | st.integers(-3, 9) | st.integers() | st.floats() | st.text(max_size=9)
WORDS = st.sampled_from(["type", "text", "content", "role", "name", "schema", "json_schema", "function", "a", "$ref"])
VALUES = st.recursive(
    LEAVES | st.sampled_from(["function", "object", "json_schema", "input_text", "user", "lookup+dry", 'regex("(")']),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(WORDS, inside, max_size=3),
    max_leaves=6,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, Any]:
    """A path, and fields of its own with whatever values."""
    endpoint = draw(st.sampled_from([*BARE]))
    fields = draw(st.dictionaries(st.sampled_from(known(endpoint)), VALUES, min_size=1, max_size=3))
    return PATH_OF[endpoint], {
        "max_output_tokens" if endpoint == "responses" else "max_tokens": 2,
        **BARE[endpoint],
        **fields,
    }


@settings(max_examples=40)
@given(asked=bodies() | st.tuples(st.sampled_from([*PATHS, "/v1/tokenize"]), VALUES | st.binary(max_size=40)))
def test_no_body_makes_the_server_fail(live: Any, asked: tuple[str, Any]) -> None:
    path, sent = asked
    status, _, said = live.ask(path, sent if isinstance(sent, bytes) else json.dumps(sent))
    assert status in (200, 400, 404), (said, sent)
    if status != 200:
        assert said["error"].keys() == {"message", "type", "param", "code"} and said["error"]["message"]
