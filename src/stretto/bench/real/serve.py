"""Answers prompts in another engine; run by an interpreter that has the engine's wheel, and none of ours.

    PYTHON serve.py llamacpp | openvino

A line of JSON on standard input is a question, a line on standard output its answer. The first one loads:
`{"model", "way", "threads", "rows", "context"}` -> `{"seconds", "versions"}`. Each later one asks:
`{"prompts": [[id, …], …], "limit", "temperature", "seed"}` -> `{"tokens": [[id, …], …], "seconds", "first_seconds",
"rounds", "drafted", "accepted"}`, where `first_seconds` is the time to the first token of a single row; or
`{"after": [id, …]}` -> `{"log_probabilities": [float, …]}` of every token that may follow. What fails is
`{"error": text}`. Whatever the engine prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Protocol

Message = dict[str, Any]


class Served(Protocol):
    """An engine that holds a model."""

    versions: dict[str, str]

    def answer(self, asked: Message) -> Message:
        """Answer prompts, side by side where there are several."""

    def after(self, tokens: list[int]) -> list[float]:
        """Natural logarithms of the probabilities [V] of what follows. Raises NotImplementedError."""


# -- llama.cpp ----------------------------------------------------------------------------------------

LOOKUPS = {  # ways of guessing from the text so far, and what is set beside llama.cpp's defaults
    "ngram-simple": {"size_n": 3, "size_m": 8},
    "ngram-mod": {},
    "ngram-cache": {},
}


LEAST = -1e4  # of a logarithm: JSON has no infinity


class LlamaCpp:
    """llama.cpp's server in this process, asked over HTTP: its own interface alone says which tokens it wrote."""

    def __init__(self, asked: Message) -> None:
        import xllamacpp
        from xllamacpp import CommonParams, Server, common_speculative_type

        self.versions = {"xllamacpp": xllamacpp.__version__, "llama.cpp": xllamacpp.get_system_info().strip(" |\n")}
        params = CommonParams()
        params.model.path = asked["model"]
        params.n_ctx = asked["context"] * asked["rows"]
        params.n_parallel = asked["rows"]
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
        params.cache_ram_mib = 0  # no prompt is read from what an earlier request left
        params.verbosity = 0
        params.ui = False
        way = asked["way"]
        if way:
            kind = way.replace("-", "_")
            params.speculative.types = [getattr(common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
            for name, value in LOOKUPS[way].items():
                setattr(getattr(params.speculative, kind), name, value)
        self._server = Server(params)
        self._pool = ThreadPoolExecutor(asked["rows"])

    def answer(self, asked: Message) -> Message:
        def row(at: int) -> Message:
            return self._post(
                prompt=asked["prompts"][at],
                n_predict=asked["limit"],
                temperature=asked["temperature"],
                seed=asked["seed"] + at,
                samplers=["temperature"],
                cache_prompt=False,
                return_tokens=True,
            )

        begun = perf_counter()
        found = list(self._pool.map(row, range(len(asked["prompts"]))))
        seconds = perf_counter() - begun
        timings = [each["timings"] for each in found]
        tokens = [each["tokens"] for each in found]
        accepted = sum(each.get("draft_n_accepted", 0) for each in timings)
        return {
            "tokens": tokens,
            "seconds": seconds,
            "first_seconds": seconds - timings[0]["predicted_ms"] / 1000,
            "rounds": sum(map(len, tokens)) - accepted,
            "drafted": sum(each.get("draft_n", 0) for each in timings),
            "accepted": accepted,
        }

    def after(self, tokens: list[int]) -> list[float]:
        found = self._post(prompt=tokens, n_predict=1, temperature=0, n_probs=2**30, cache_prompt=True)
        top = found["completion_probabilities"][0]["top_logprobs"]
        row = [LEAST] * len(top)
        for each in top:
            row[each["id"]] = max(each["logprob"], LEAST)
        return row

    def _post(self, **asked: Any) -> Message:
        data = json.dumps(asked).encode()
        url, head = f"{self._server.listening_address}/completion", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, head)) as reply:
            found: Message = json.load(reply)
        return found


# -- OpenVINO GenAI -----------------------------------------------------------------------------------


class OpenVino:
    """OpenVINO GenAI's pipeline with its paged attention; prompts are read anew each time."""

    def __init__(self, asked: Message) -> None:
        import openvino_genai as genai

        self.versions = {"openvino-genai": genai.get_version()}
        self._genai = genai
        scheduling = genai.SchedulerConfig()
        scheduling.enable_prefix_caching = False
        options: Message = {"INFERENCE_NUM_THREADS": asked["threads"], "scheduler_config": scheduling}
        self._lookup = asked["way"] == "lookup"
        if self._lookup:
            options["prompt_lookup"] = True
        self._pipeline = genai.LLMPipeline(asked["model"], "CPU", **options)

    def answer(self, asked: Message) -> Message:
        config = self._config(asked)
        inputs = self._inputs(asked["prompts"])
        begun = perf_counter()
        found = self._pipeline.generate(inputs, config)
        seconds = perf_counter() - begun
        metrics = found.perf_metrics
        written = sum(map(len, found.tokens))
        rounds = len(metrics.raw_metrics.m_new_token_times) if self._lookup else written
        decoding = (metrics.get_generate_duration().mean - metrics.get_ttft().mean) / 1000
        return {
            "tokens": [list(map(int, row)) for row in found.tokens],
            "seconds": seconds,
            "first_seconds": seconds - decoding,
            "rounds": rounds,
            "drafted": 0,  # it does not tell
            "accepted": written - rounds,
        }

    def after(self, tokens: list[int]) -> list[float]:
        raise NotImplementedError("it tells no probability but that of the token it wrote")

    def _config(self, asked: Message) -> Any:
        config = self._pipeline.get_generation_config()
        config.max_new_tokens = asked["limit"]
        config.do_sample = asked["temperature"] > 0
        if config.do_sample:
            config.temperature, config.top_p, config.top_k = asked["temperature"], 1.0, 2**31
            config.rng_seed = asked["seed"]
        if self._lookup:
            config.num_assistant_tokens, config.max_ngram_size = 3, 3
        return config

    def _inputs(self, prompts: list[list[int]]) -> Any:
        """Rows padded on the left."""
        import numpy
        from openvino import Tensor

        longest = max(map(len, prompts))
        ids = numpy.zeros((len(prompts), longest), dtype=numpy.int64)
        seen = numpy.zeros_like(ids)
        for at, prompt in enumerate(prompts):
            ids[at, longest - len(prompt) :] = prompt
            seen[at, longest - len(prompt) :] = 1
        return self._genai.TokenizedInputs(Tensor(ids), Tensor(seen))


# -- the pipe -----------------------------------------------------------------------------------------


def serve(load: Callable[[Message], Served]) -> None:
    """Answer lines until there are no more."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints would stand between our lines
    engine: Served | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if engine is None:
                begun = perf_counter()
                engine = load(asked)
                reply: Message = {"seconds": perf_counter() - begun, "versions": engine.versions}
            elif "after" in asked:
                reply = {"log_probabilities": engine.after(asked["after"])}
            else:
                reply = engine.answer(asked)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    serve(LlamaCpp if sys.argv[1] == "llamacpp" else OpenVino)
