"""What is measured: a network for our engine, its twin for transformers, and the draft model of both."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ..engine import Engine
from ..errors import ModelError, Unsupported
from ..models.checkpoint import find
from ..models.contract import Model, masking_of
from ..models.fast import lean_or_none
from ..models.load import load, opened
from ..models.network import Network
from .replay import Replayed, Watched
from .tasks import Exercise

RANDOM = "random-134m"  # a target that is costly beside its draft; only its speed means anything
TOKENIZER = "zoo/causal"  # whose tokenizer the random network reads


class Subject:
    """One target, ready for both sides.

    `engine` answers for stretto; its model is `replayed`. `watched` holds transformers' module: other
    weights in memory, the same numbers. `draft` and `draft_module` are the same small model, if there is one.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        module: PreTrainedModel,
        draft: Model | None = None,
        draft_module: PreTrainedModel | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.replayed = Replayed(engine.model)
        engine.model = self.replayed  # the engine's clock goes on measuring the model itself
        self.watched = Watched(module)
        self.draft = draft
        self.draft_module = draft_module

    @property
    def ends(self) -> list[int]:
        """The end tokens, in a fixed order."""
        return sorted(self.engine.end_tokens)

    def load(self, name: str) -> Model:
        """Another model, on the same device and in the same precision."""
        place, kind = str(self.replayed.device), str(self.replayed.dtype).removeprefix("torch.")
        return load(name, dtype=kind, device=place).model

    def encode(self, exercise: Exercise, said: Sequence[str] = ()) -> list[int]:
        """Token ids of an exercise's prompt and of what was `said` since: see `encode`."""
        return encode(self.engine, exercise, said)

    def encode_reference(self, text: str) -> list[int]:
        """Token ids of what is to follow a prompt."""
        assert self.engine.tokenizer is not None
        tokens: list[int] = self.engine.tokenizer.encode(text, add_special_tokens=False)
        return tokens


def encode(engine: Engine, exercise: Exercise, said: Sequence[str] = ()) -> list[int]:
    """Token ids of an exercise's prompt, and of what was `said` since, by the model and the user in turn.

    Without a chat template it is text, turn below turn. Raises InvalidRequest where it does not fit.
    """
    turns = [exercise.prompt, *said]
    if exercise.chat and engine.codec.has_template:
        roles = itertools.cycle(("user", "assistant"))
        return engine.encode([{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)])
    return engine.encode("\n".join(turns))


def load_subject(name: str, draft: str, seed: int, dtype: str = "float32", device: str = "auto") -> Subject:
    """A checkpoint, or `random-134m`; `draft` may be empty. Both sides have the same numbers on the same device.

    Raises what loading raises, ModelError and Unsupported, the latter for masked-diffusion models as well.
    """
    told = load(TOKENIZER if name == RANDOM else name, dtype=dtype, device=device)
    if masking_of(told.model) is not None:
        raise Unsupported(
            f"{name} fills masks: no other engine here writes the same, and what is to be written cannot be forced",
            hint=f"stretto bench quality --model {name}; beside a plain sampler: stretto bench canvas --model {name}",
        )
    kind, place = told.model.dtype, told.model.device
    if name == RANDOM:
        module = random_network(seed).to(place, kind)
        engine = Engine(driven(copy.deepcopy(module)), told.tokenizer)
    else:
        engine = Engine(told.model, told.tokenizer)
        if engine.tokenizer is None:
            raise ModelError(f"{name} has no tokenizer", hint="the benchmark's prompts are text: add tokenizer.json")
        module = module_of(name, kind).to(place)
    engine.end_tokens = told.end_tokens
    if not draft:
        return Subject(name, engine, module)
    draft_module = padded(module_of(draft, kind).to(place), engine.model.vocabulary)
    return Subject(name, engine, module, driven(copy.deepcopy(draft_module)), draft_module)


def module_of(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """transformers' own module of a checkpoint."""
    place = find(name)
    if place.is_file():
        return opened(place).stock(None, dtype, torch.device("cpu"))
    module: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, dtype=dtype)
    return module.eval()


def driven(module: PreTrainedModel) -> Model:
    """Our model of a module, which it takes over."""
    return lean_or_none(module) or Network(module)


def random_network(seed: int) -> PreTrainedModel:
    """A Llama of 134 million random weights: 768 wide, 12 layers, 32,000 tokens."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    return seeded(config, seed)


def seeded(config: LlamaConfig, seed: int) -> PreTrainedModel:
    """A Llama of random weights, ready to be evaluated; torch's own randomness is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: PreTrainedModel = LlamaForCausalLM(config)
    return module.eval().requires_grad_(False)


def padded(module: PreTrainedModel, vocabulary: int) -> PreTrainedModel:
    """The module with zero rows added to its vocabulary, so that it drafts for a larger one at that size's cost."""
    held = module.get_input_embeddings().weight.shape[0]
    if held < vocabulary:
        module.resize_token_embeddings(vocabulary, mean_resizing=False)
        with torch.no_grad():
            for table in (module.get_input_embeddings(), module.get_output_embeddings()):
                table.weight[held:] = 0.0
    return module
