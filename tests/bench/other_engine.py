"""Another engine for the bench's pipe: `python other_engine.py`, with this package's sources on its path.

It decodes a checkpoint by itself, in its own process, one row after another.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from stretto.bench.real.serve import serve


class Alone:
    """Plain decoding; what a row is asked for stands beside no other."""

    def __init__(self, asked: dict[str, Any]) -> None:
        import torch

        from stretto.engine import Engine

        torch.set_num_threads(asked["threads"])
        print("libraries greet whoever loads them")
        self.versions = {"torch": torch.__version__}
        self._engine = Engine.load(asked["model"], reproducible=True)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        begun, tokens, first = perf_counter(), [], 0.0
        for prompt in asked["prompts"]:
            self._engine.generate(prompt, "plain", max_new_tokens=1)
            first = first or perf_counter() - begun
            tokens.append(self._engine.generate(prompt, "plain", max_new_tokens=asked["limit"]).tokens)
        return {
            "tokens": tokens,
            "seconds": perf_counter() - begun,
            "first_seconds": first,
            "rounds": sum(map(len, tokens)),
            "drafted": 0,
            "accepted": 0,
        }

    def after(self, tokens: list[int]) -> list[float]:
        from stretto.bench.real.fidelity import log_probabilities

        return log_probabilities(self._engine.model, tokens)[-1].tolist()


if __name__ == "__main__":
    if sys.argv[1:] == ["broken"]:
        sys.exit("no such wheel")
    serve(Alone)
