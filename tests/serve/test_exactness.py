"""The answer to a request does not depend on who else is served: it is the one that the engine gives alone."""

from __future__ import annotations

import asyncio
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import Live
from stretto.engine import Engine
from stretto.generation import Generation, LogProbability
from stretto.messages import Conversation
from stretto.serve.batch import Batch, journal
from stretto.serve.tokens import Spelling

PROMPTS = ["Once upon a time", "def count_owl(s):", "one two one two one", "The owl"]
QUESTIONS = ["Sort the words from A to Z: owl, lamp, brush", "Spell owl.", "What is 3 and 4?", "Repeat: red blue red"]
METHODS = ["plain", "auto", "lookup+fixed(4)", "suffix", "recycle", "draft+fixed(3)"]
NAMES = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "samples": "n",
    "log_probabilities": "logprobs",
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ADD = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
FINISH = {"end": "stop", "stop": "stop", "length": "length"}
REQUESTS = 20


@pytest.fixture(scope="module")
def alone() -> Engine:
    return Engine.load("zoo/causal", exact="bits", reproducible=True, prefixes=0)


def drawn(rng: random.Random) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """An endpoint, the settings of the engine, and what else the request says and the engine is told."""
    settings: dict[str, Any] = {"max_new_tokens": rng.randint(1, 20), "temperature": rng.choice([0, 0.7, 1.0])}
    settings |= {"seed": rng.randrange(99), "samples": rng.choice([1, 1, 1, 2, 3])}
    usual = {
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "stop": [" owl", "e"],
    }
    usual |= {"frequency_penalty": 0.3, "logit_bias": {5: 2.0, 17: -3}, "log_probabilities": 2, "min_new_tokens": 3}
    settings |= {name: value for name, value in usual.items() if rng.random() < 0.2}
    if rng.random() < 0.5:
        prompts = rng.sample(PROMPTS, rng.randint(1, 2))
        return "completions", settings, {"prompt": prompts[0] if len(prompts) == 1 else prompts}, {}
    said = {"messages": [{"role": "user", "content": rng.choice(QUESTIONS)}]}
    form = rng.choice(["", "", "schema", "tools"])
    if form:
        settings = {name: settings[name] for name in ("temperature", "seed", "samples")} | {"max_new_tokens": 40}
    if form == "schema":
        said["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
        return "chat", settings, said, {"schema": SCHEMA}
    if form == "tools":
        return "chat", settings, {**said, "tools": [ADD], "tool_choice": "required"}, {"tool_choice": "required"}
    return "chat", settings, said, {}


def asked(live: Live, drew: tuple[Any, ...], method: str, stream: bool, wait: float) -> list[dict[str, Any]]:
    """What the server says of each choice."""
    endpoint, settings, said, _ = drew
    body = {NAMES.get(name, name): value for name, value in settings.items()} | said | {"method": method}
    if endpoint == "chat" and "logprobs" in body:
        body |= {"logprobs": True, "top_logprobs": settings["log_probabilities"]}
    time.sleep(wait)
    path = "/v1/chat/completions" if endpoint == "chat" else "/v1/completions"
    if stream:
        return joined(live.events(path, body), endpoint)
    status, _, answer = live.ask(path, body)
    assert status == 200, answer
    return [flat(choice, choice.get("message", choice)) for choice in answer["choices"]]


def flat(choice: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    calls = [each["function"] for each in said.get("tool_calls", ())]
    text = said.get("content", said.get("text")) or ""
    return {"text": text, "calls": calls, "finish": choice["finish_reason"], "logprobs": entries(choice["logprobs"])}


def entries(logprobs: dict[str, Any] | None) -> list[tuple[str, float]]:
    if logprobs is None:
        return []
    if "content" in logprobs:
        return [(each["token"], each["logprob"]) for each in logprobs["content"]]
    return list(zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True))


def joined(events: list[dict[str, Any]], endpoint: str) -> list[dict[str, Any]]:
    """The choices of a stream, put together."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        (choice,) = event["choices"]
        if endpoint == "chat" and choice["index"] not in found:
            assert choice["delta"] == {"role": "assistant", "content": ""}
        whole = found.setdefault(choice["index"], {"text": "", "calls": [], "finish": None, "logprobs": []})
        assert whole["finish"] is None
        part = flat(choice, choice.get("delta", choice))
        for name in ("text", "calls", "logprobs"):
            whole[name] += part[name]
        whole["finish"] = part["finish"]
    return [found[index] for index in sorted(found)]


def expected(alone: Engine, drew: tuple[Any, ...]) -> list[dict[str, Any]]:
    """What the engine answers alone, without drafts."""
    endpoint, settings, said, told = drew
    if endpoint == "completions":
        answers: Any = alone.generate(said["prompt"], "plain", **settings)
    elif told.get("tool_choice"):
        answers = alone.chat(said["messages"], "plain", tools=[ADD], **told, **settings)
    else:
        answers = alone.generate(Conversation(said["messages"]), "plain", **settings, **told)
    return [of(alone, each, told) for each in (answers if isinstance(answers, list) else [answers])]


def of(alone: Engine, answer: Generation, told: dict[str, Any]) -> dict[str, Any]:
    calls = answer.calls if told.get("tool_choice") else []
    said = [(each.token, each.raw) for each in answer.log_probabilities or ()]
    return {
        "text": "" if calls else answer.text,
        "calls": [{"name": each["name"], "arguments": each["arguments"]} for each in calls],
        "finish": "tool_calls" if calls else FINISH[answer.finish],
        "logprobs": [(alone.decode([token]) or "<|end|>", value) for token, value in said],
    }


def test_answers_under_load_are_those_of_the_engine_alone(live: Live, alone: Engine) -> None:
    rng = random.Random(5)
    drew = [drawn(rng) for _ in range(REQUESTS)]
    more = [(rng.choice(METHODS), rng.random() < 0.5, rng.random() * 0.05) for _ in drew]
    with ThreadPoolExecutor(12) as clients:
        waits = [clients.submit(asked, live, one, *how) for one, how in zip(drew, more, strict=True)]
        found = [wait.result() for wait in waits]
    for one, how, answers in zip(drew, more, found, strict=True):
        for answer in answers:
            for call in answer["calls"]:
                call["arguments"] = json.loads(call["arguments"])
        assert answers == expected(alone, one), (one, how)
    assert any(answer["calls"] for answers in found for answer in answers)
    assert {answer["finish"] for answers in found for answer in answers} >= {"stop", "length"}


def test_of_tokens_that_are_written_alike_the_likeliest_is_told(alone: Engine) -> None:
    spelling = Spelling(alone)
    first, second = [token for token in range(alone.model.vocabulary) if spelling.text_of(token) == "\ufffd"][:2]
    entry = LogProbability(first, -1.0, -1.0, [(first, -1.0), (second, -2.0)])
    assert spelling.of_completion([entry], 0)["top_logprobs"] == [{"\ufffd": -1.0}]


def test_a_batch_gives_the_answers_of_the_server(live: Live, tmp_path: Path) -> None:
    owl = {"messages": [{"role": "user", "content": "Spell owl."}], "max_tokens": 9, "seed": 1}
    asked = {
        "/v1/chat/completions": [owl, {**owl, "n": 2, "logprobs": True}, {**owl, "top_p": 2}],
        "/v1/completions": [{"prompt": ["The owl", "one two"], "seed": 5, "top_k": 9, "method": "lookup+fixed(3)"}],
    }
    pairs = [(url, body) for url, bodies in asked.items() for body in bodies]
    with (tmp_path / "in").open("w") as file:
        for at, (url, body) in enumerate(pairs):
            print(json.dumps({"custom_id": str(at), "method": "POST", "url": url, "body": body}), file=file)
    with journal(tmp_path / "out") as out:
        asyncio.run(Batch(tmp_path / "in", out).run(live.service))
    found = list(map(json.loads, (tmp_path / "out").read_text().splitlines()))
    assert sorted(answer["custom_id"] for answer in found) == ["0", "1", "2", "3"]
    for answer in found:
        status, _, said = live.ask(*pairs[int(answer["custom_id"])])
        response = answer["response"]
        assert response["status_code"] == status == (400 if answer["custom_id"] == "2" else 200)
        for body in (said, response["body"]):
            for choice in body.get("choices", ()):  # what drafting came to depends on the clock
                choice["stretto"] = {name: choice["stretto"][name] for name in ("seed", "method", "guarantee")}
            body |= {"id": "", "created": 0}
        assert said == response["body"] and answer["error"] is None
