"""What of a vision-language checkpoint of transformers sees: pictures become rows by the checkpoint's own forward.

The module is called as ever, with what its processor made of pictures and text, up to where its language model begins;
what would enter there are the rows. It is called once more with the text alone: where anything else than the rows of
image tokens differs between both calls (positions of several dimensions, masks that let a picture see itself whole,
rows for deeper layers), the pictures are no mere rows in the place of tokens, and that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

from ..errors import InvalidRequest, ModelError, Unsupported
from .contract import Model
from .hooks import attending_by, configs_of
from .pictures import Picture, Pictured

HINT = "stretto reads pictures that enter as embeddings, as in LLaVA, Idefics3 or SmolVLM"
TOLERANCE = 1e-5  # of the rows of tokens: how far the module's may be from the model's


class Sight:
    """The part of a module that sees, beside the model that decodes. Raises ModelError where it has none."""

    def __init__(self, module: PreTrainedModel) -> None:
        config = module.config
        self.module = module
        self.decoder: nn.Module = module.get_decoder()
        found = getattr(config, "image_token_id", None)
        self.image_token: int = getattr(config, "image_token_index", -1) if found is None else found
        if self.image_token is None or self.image_token < 0:
            raise ModelError(f"{type(module).__name__} names no image token", hint=HINT)

    @property
    def text(self) -> PreTrainedModel:
        """The language model alone, where its form is known; else the module."""
        config: Any = self.decoder.config
        kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        if kind is None:
            return self.module
        with torch.device("meta"):
            causal: PreTrainedModel = kind(config)
        if type(causal.base_model) is not type(self.decoder):
            return self.module
        setattr(causal, causal.base_model_prefix, self.decoder)
        causal.set_output_embeddings(self.module.get_output_embeddings())
        return causal.eval().requires_grad_(False)

    def look(self, model: Model, inputs: Mapping[str, Any]) -> Pictured:
        """The prompt of what a processor has made of one text and its pictures: `input_ids`, `pixel_values`, …

        Raises InvalidRequest where that is not one prompt with pictures, Unsupported where more than rows in the place
        of image tokens would enter the language model.
        """
        given = {name: each for name, each in inputs.items() if each is not None}
        mask = given.pop("attention_mask", None)
        ids = given.get("input_ids")
        if (
            not isinstance(ids, Tensor)
            or ids.dim() != 2
            or len(ids) != 1
            or (mask is not None and not bool(mask.all()))
        ):
            raise InvalidRequest("these are not the inputs of one prompt", hint="give one text, without padding")
        tokens = ids[0].tolist()
        if self.image_token not in tokens or len(given) < 2:
            raise InvalidRequest("these inputs have no picture", hint="give what the processor made of text and images")
        rows = self._rows(model, given)
        spans = [(at, token == self.image_token) for at, token in enumerate(tokens)]
        runs = [[at for at, _ in run] for seen, run in groupby(spans, key=lambda each: each[1]) if seen]
        pictures = [Picture(rows[run[0] : run[-1] + 1], run[0]) for run in runs]
        if len(pictures) == 1 and isinstance(pixels := given.get("pixel_values"), Tensor):
            pictures = [replace(pictures[0], pixels=pixels, encoder=_Again(self, model, given))]
        return Pictured(tokens, pictures)

    def rows(self, model: Model, inputs: Mapping[str, Any]) -> Tensor:
        """The rows of all image tokens, one behind another. Raises as `look` does."""
        places = [at for at, token in enumerate(inputs["input_ids"][0].tolist()) if token == self.image_token]
        found: Tensor = self._rows(model, inputs)[places]
        return found

    @torch.inference_mode()
    def _rows(self, model: Model, inputs: Mapping[str, Any]) -> Tensor:
        """What enters the language model, for each token of the prompt: [T, C]."""
        ids = inputs["input_ids"]
        seen, blind = self._entering(inputs), self._entering({"input_ids": ids})
        rows, bare = seen.pop("inputs_embeds")[0], blind.pop("inputs_embeds")[0]
        name = type(self.module).__name__
        if differing := next((key for key in {**seen, **blind} if not _same(seen.get(key), blind.get(key))), None):
            raise Unsupported(f"{name} gives its language model {differing} of its own for pictures", hint=HINT)
        text = ids[0] != self.image_token
        own = model.embed(ids[0][text].to(model.device)).to(rows)
        size = float(own.abs().max())
        if rows.shape != bare.shape or not (
            torch.equal(rows[text], bare[text]) and float((rows[text] - own).abs().max()) <= TOLERANCE * size
        ):
            raise Unsupported(f"{name} changes the rows of other tokens than those of its pictures", hint=HINT)
        copied: Tensor = rows.clone()
        return copied

    def _entering(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with which the module would call its language model."""

        def stop(part: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any]) -> None:
            raise _Reached(arguments)

        hook = self.decoder.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with attending_by(configs_of(self.module), "eager"):
                self.module(**inputs, use_cache=False, return_dict=True)
        except _Reached as reached:
            if isinstance(reached.arguments.get("inputs_embeds"), Tensor):
                return dict(reached.arguments)
        except Exception as error:  # of inputs that are not its own a module may raise anything
            reason = " ".join(str(error).split())
            raise InvalidRequest(f"{type(self.module).__name__} takes no such inputs: {reason}", hint=HINT) from error
        finally:
            hook.remove()
        raise Unsupported(f"{type(self.module).__name__} gives its language model no rows", hint=HINT)


class _Again:
    """The checkpoint's own encoder, of the picture of one prompt."""

    def __init__(self, sight: Sight, model: Model, inputs: Mapping[str, Any]) -> None:
        self._sight, self._model, self._inputs = sight, model, inputs

    def __call__(self, pixels: Tensor) -> Tensor:
        """Rows [n, C] of other pixels, of the same shape."""
        return self._sight.rows(self._model, {**self._inputs, "pixel_values": pixels})


class _Reached(BaseException):
    """The language model is about to be called."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


def sight_of(module: PreTrainedModel) -> Sight | None:
    """What sees in a module; None where nothing does."""
    return Sight(module) if getattr(module.config, "vision_config", None) is not None else None


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments say the same."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other or (type(one) is type(other) and not isinstance(one, Tensor) and bool(one == other))
