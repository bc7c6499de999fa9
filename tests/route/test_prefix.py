from __future__ import annotations

import pytest

from route.pairs import LARGE, PROMPTS, SMALL, engine
from stretto.errors import InvalidRequest
from stretto.route.loop import Routed
from stretto.route.prefix import Prefix


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("tokens", [0, 1, 5, 20])
def test_one_model_begins_and_the_other_goes_on(tokens, temperature):
    settings = {"max_new_tokens": 12, "temperature": temperature, "seed": 4, "end_tokens": ()}
    for prompt in PROMPTS:
        answer = engine().generate(prompt, Routed(Prefix(SMALL, tokens)), **settings)
        begun = engine(SMALL).generate(prompt, "plain", **settings).tokens[:tokens]
        assert answer.tokens[:tokens] == begun
        rest = settings | {"max_new_tokens": 12 - len(begun)}
        if len(begun) < 12:  # noise knows the position, not who wrote before
            continued = engine(LARGE).generate([*answer.prompt_tokens, *begun], "plain", **rest)
            assert answer.tokens[tokens:] == continued.tokens
        sources = [source for step in answer.steps for source in step.sources]
        assert sources == ["first"] * len(begun) + [""] * (12 - len(begun))


def test_settings_out_of_range():
    with pytest.raises(InvalidRequest, match="tokens >= 0"):
        Prefix(SMALL, -1)
