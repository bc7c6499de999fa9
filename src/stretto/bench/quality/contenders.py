"""Which methods are compared: those that were named, or, on a masked-diffusion model, published ones of many kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ... import method as methods
from ...diffuse.family import KINDS, USUAL
from ...engine import Engine
from ...errors import StrettoError
from ...method import Method
from ...models.contract import Model, masking_of
from ...request import Request
from ...train.measure import BASELINES
from ..contestants import with_models

CONTINUING = ("plain", "auto", "lookup")  # for models that continue text
FILLERS = {  # of the catalogue, or parts of theirs, by whether the model is block-causal; the first is the baseline
    False: (
        "low-confidence",
        "threshold",
        "fast-dllm",
        "factor+prefix-cache",
        "prophet",
        "klass",
        "local-leap",
        "credit-decoding",
        "freedave",
        "ssd",
    ),
    True: ("low-confidence", "threshold", "factor", "klass", "local-leap", "credit-decoding", "freedave", "ssd"),
}

Load = Callable[[str], Model]


def named(names: Sequence[str], engine: Engine, load: Load) -> dict[str, Method]:
    """The methods of these text forms, which stand for them in tables. Raises what parsing raises."""
    return {name: with_models(name, engine.model, load=load) for name in names}


def usual(engine: Engine, temperature: float, load: Load) -> tuple[dict[str, Method], dict[str, str]]:
    """Where none is named: methods by name, the baseline first; and those that do not fit, with the reason.

    On a masked-diffusion model each stands on the baseline's blocks, cache and stop where it names none of its own,
    so that all end at the end of the text; a block-causal model's blocks and cache are its own.
    """
    masking = masking_of(engine.model)
    if masking is None:
        return named(CONTINUING, engine, load), {}
    causal = masking.block is not None
    baseline = methods.parse(BASELINES[causal])
    kept = ("blocks", "refresh") if causal else ()
    found: dict[str, Method] = {}
    refused: dict[str, str] = {}
    for name in FILLERS[causal]:
        try:
            method = over(baseline, methods.parse(name), kept)
            fitting(method, engine, temperature)
        except StrettoError as error:
            refused[name] = str(error)
        else:
            found[name] = method
    return found, refused


def over(baseline: Method, method: Method, kept: Sequence[str] = ()) -> Method:
    """The method with the baseline's part of each kind that is `kept`, or of which it names none."""
    own = {kind: getattr(method, kind) for kind in KINDS if kind not in kept}
    return replace(baseline, **{kind: part for kind, part in own.items() if part != USUAL.get(kind)})


def fitting(method: Method, engine: Engine, temperature: float) -> None:
    """Raise Unsupported or InvalidRequest where the method does not fit the model or the temperature."""
    pipeline = Request(temperature=temperature).pipeline(engine.end_tokens)
    methods.check(method, engine.model, pipeline)
