"""The prompt before the answer, with what the model thinks of it: the numbers of `Engine.score`."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")
pytest.importorskip("uvicorn", reason="pip install 'stretto[serve]'")

from serve.serving import Live

PATH = "/v1/completions"
TEXTS = ["def add(a, b):\n    return a", "The owl"]


def test_the_prompt_is_scored_as_the_engine_scores_it(live: Live) -> None:
    """As lm-evaluation-harness asks: token ids of several texts, one token more, one other beside each."""
    engine = live.service.engine
    ids = [engine.encode(text) for text in TEXTS] + [[50]]
    body = {"prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0, "n": 2}
    status, _, said = live.ask(PATH, body)
    assert status == 200 and len(said["choices"]) == 6
    for index, choice in enumerate(said["choices"]):
        prompt, told = ids[index // 2], choice["logprobs"]
        assert choice["text"].startswith(engine.decode(prompt))
        assert told["token_logprobs"][0] is None is told["top_logprobs"][0]
        if len(prompt) > 1:
            score = engine.score(prompt[:1], prompt[1:])
            assert told["token_logprobs"][1:-1] == score.log_probabilities
            greedy = [max(top.values()) for top in told["top_logprobs"][1:-1]]
            assert [value == best for value, best in zip(score.log_probabilities, greedy, strict=True)] == [
                not rank for rank in score.ranks
            ]
        assert {len(each) for each in told.values()} == {len(prompt) + 1}
        assert told["text_offset"] == [len("".join(told["tokens"][:at])) for at in range(len(prompt) + 1)]
        assert "".join(told["tokens"]) == choice["text"]
        assert said["usage"]["prompt_tokens"] == sum(map(len, ids))


@pytest.mark.parametrize("more", [{}, {"logprobs": 2}], ids=str)
def test_a_stream_begins_with_the_prompt(live: Live, more: dict[str, Any]) -> None:
    body = {"prompt": TEXTS, "echo": True, "max_tokens": 5, "seed": 3, **more}
    whole = live.ask(PATH, body)[2]["choices"]
    bare = live.ask(PATH, {**body, "echo": False})[2]["choices"]
    events = [event["choices"][0] for event in live.events(PATH, body)]
    for index, choice in enumerate(whole):
        mine = [event for event in events if event["index"] == index]
        assert mine[0]["text"] == TEXTS[index]
        assert choice["text"] == TEXTS[index] + bare[index]["text"] == "".join(event["text"] for event in mine)
        if more:
            for name, values in choice["logprobs"].items():
                assert values == [value for event in mine[:-1] for value in event["logprobs"][name]]
