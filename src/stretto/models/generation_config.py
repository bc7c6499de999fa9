"""What a checkpoint's generation_config.json asks for, by our names; and which tokens end its answers.

Read as transformers reads it: without `do_sample` it is greedy, and what shapes a distribution does not count; with
it, a top-k that is not named is 50.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError
from ..values import shown

TOP_K = 50  # of transformers, where a checkpoint samples and names none
ALWAYS: dict[str, tuple[str, Any]] = {  # in generation_config.json -> our setting, and what changes nothing
    "max_new_tokens": ("max_new_tokens", None),
    "min_new_tokens": ("min_new_tokens", 0),
    "repetition_penalty": ("repetition_penalty", 1),
    "no_repeat_ngram_size": ("no_repeat_ngram", 0),
    "stop_strings": ("stop", []),
    "suppress_tokens": ("banned_tokens", []),
}
SAMPLING: dict[str, tuple[str, Any]] = {  # the same of what counts only where the checkpoint samples
    "top_p": ("top_p", 1),
    "min_p": ("min_p", 0),
    "typical_p": ("typical_p", 1),
    "epsilon_cutoff": ("epsilon", 0),
    "eta_cutoff": ("eta", 0),
}
FOREIGN: dict[str, Any] = {  # what changes answers and has no counterpart -> what changes nothing
    "begin_suppress_tokens": [],
    "constraints": [],
    "diversity_penalty": 0,
    "dola_layers": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1,
    "exponential_decay_length_penalty": None,
    "force_words_ids": [],
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": 1,
    "max_time": None,
    "min_length": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "penalty_alpha": 0,
    "sequence_bias": {},
    "token_healing": False,
    "watermarking_config": None,
}
STARTS = ("decoder_start_token_id", "forced_bos_token_id", "forced_decoder_ids")  # what answers begin with
USUAL_LENGTH = 20  # of transformers: max_length where nobody chose one


@dataclass(frozen=True, slots=True)
class Asked:
    """What a checkpoint asks for. Nothing of it is in effect before a request wants it."""

    settings: Mapping[str, Any] = field(default_factory=dict)  # of `Request`; their kinds and ranges as in the file
    foreign: Mapping[str, Any] = field(default_factory=dict)  # by the file's names: what has no counterpart

    def left_out(self, given: Iterable[str], taken: bool) -> str:
        """What a request with these settings does without, as `name=value, …`; `taken`: it wants the checkpoint's."""
        given = set(given)
        rest = {} if taken else {name: value for name, value in self.settings.items() if name not in given}
        return ", ".join(f"{name}={shown(value)}" for name, value in (rest | dict(self.foreign)).items())


def asked(content: Mapping[str, Any], positions: int, ends: frozenset[int] = frozenset()) -> Asked:
    """What the content of generation_config.json asks of a model with so many positions and these end tokens."""
    sampling = content.get("do_sample") is True
    settings: dict[str, Any] = {}
    for theirs, (ours, neutral) in (ALWAYS | (SAMPLING if sampling else {})).items():
        value = content.get(theirs)
        if value is not None and value != neutral:
            settings[ours] = value
    if sampling:
        settings["temperature"] = 1.0 if content.get("temperature") is None else content["temperature"]
        top_k = TOP_K if content.get("top_k") is None else content["top_k"]
        settings |= {"top_k": top_k} if top_k != 0 else {}
    foreign = {name: content[name] for name, neutral in FOREIGN.items() if content.get(name) not in (None, neutral, ())}
    if (length := content.get("max_length")) not in (None, USUAL_LENGTH) and not _reaches(length, positions):
        foreign["max_length"] = length
    _bad_words(content.get("bad_words_ids"), settings, foreign, ends)
    return Asked(settings, foreign)


def start_of(content: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
    """The tokens with which answers of an encoder–decoder begin, by config.json and generation_config.json; the rest.

    Empty where neither names the first one. Raises ModelError where what is named are no tokens.
    """
    said = {name: value for each in (content, generation) for name, value in each.items() if value is not None}
    forced = said.get("forced_decoder_ids") or []
    first, second = said.get("decoder_start_token_id"), said.get("forced_bos_token_id")
    try:
        start = [] if first is None else [first, *([] if second is None else [second]), *dict(sorted(forced)).values()]
    except (TypeError, ValueError):
        start = [forced]
    if not all(type(token) is int and token >= 0 for token in start):
        raise ModelError(
            f"an answer begins with {shown(start)}", hint="mend decoder_start_token_id and what is forced after it"
        )
    return start, {name: value for name, value in generation.items() if name not in STARTS}


def _reaches(length: Any, positions: int) -> bool:
    """Whether a limit of prompt and answer is no limit, since the positions end before it."""
    return isinstance(length, int) and length >= positions


def _bad_words(words: Any, settings: dict[str, Any], foreign: dict[str, Any], ends: frozenset[int]) -> None:
    """Single tokens are banned, end tokens left out, as transformers does; longer words have no counterpart."""
    if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
        if words is not None:
            settings["banned_tokens"] = words  # of no kind that can be served: told where it is asked for
        return
    single = [word[0] for word in words if len(word) == 1 and word[0] not in ends]
    if single:
        settings["banned_tokens"] = [*settings.get("banned_tokens", ()), *single]
    if longer := [word for word in words if len(word) != 1]:
        foreign["bad_words_ids"] = longer


def end_tokens(named: Iterable[tuple[str, Any]], vocabulary: int) -> frozenset[int]:
    """All tokens that (file, eos_token_id) pairs name, as one id or a list. Raises ModelError for what is no token."""
    found: set[int] = set()
    for file, value in named:
        for token in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocabulary:
                raise ModelError(
                    f"{file} names {shown(token)} as an end token",
                    hint=f"mend eos_token_id in it: token ids run from 0 to {vocabulary - 1}",
                )
            found.add(token)
    return frozenset(found)
