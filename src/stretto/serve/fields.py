"""The fields of requests: what each does here. docs/serve.md has a row for each, of which a test holds it to this file.

A field that is null counts as not given. What is not named here is refused: nothing is dropped in silence.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..constrain.given import is_path
from ..errors import closest
from ..values import shown
from .errors import Refused
from .inputs import as_chat
from .methods import require_nameless

if TYPE_CHECKING:
    from .service import Limits

PATHS = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/responses": "responses"}
SAME = {  # the API's name -> the setting of `Request` that it is
    "min_tokens": "min_new_tokens",
    **{
        name: name
        for name in (
            "temperature",
            "top_p",
            "frequency_penalty",
            "presence_penalty",
            "stop",
            "seed",
            # beyond the API:
            "top_k",
            "min_p",
            "typical_p",
            "epsilon",
            "eta",
            "repetition_penalty",
            "no_repeat_ngram",
            "banned_tokens",
            "allowed_tokens",
            "end_tokens",
            "regex",
            "choices",
            "after",
            "close",
        )
    },
}
LENGTHS = {  # those of `max_new_tokens`, by endpoint
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}
READ = ("model", "stream", "stream_options", "logit_bias", "method", "trace", "steers", "grammar")
CALLING = ("tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs", "top_logprobs")
READ_OF: dict[str, tuple[str, ...]] = {  # beside those, by endpoint
    "chat": ("messages", "n", "logprobs", "response_format", *CALLING),
    "completions": ("prompt", "n", "logprobs", "echo"),
    "responses": ("input", "instructions", "text", "include", *CALLING),
}
IGNORED = {  # they change no token -> what is said of them
    "user": "nobody is told apart",
    "metadata": "nothing is stored",
    "safety_identifier": "nobody is told apart",
    "prompt_cache_key": "what is kept of prompts is found by itself",
    "prompt_cache_retention": "what is kept of prompts is found by itself",
    "prediction": "it would change no token, only how fast they come",
}
ONLY: dict[str, tuple[tuple[Any, ...], str]] = {  # refused unless they say what is so -> those values, and the mend
    "service_tier": (("auto", "default"), "there is one tier: leave it out"),
    "store": ((False,), "nothing is stored: leave it out"),
    "modalities": ((["text"],), "answers are text"),
    "audio": ((), "answers are text"),
    "verbosity": (("medium",), "say in the prompt how long the answer is to be"),
    "reasoning_effort": ((), "what the template knows of it goes into chat_template_kwargs, such as enable_thinking"),
    "web_search_options": ((), "nothing is searched"),
    "functions": ((), "use tools"),
    "function_call": ((), "use tool_choice"),
}
ONLY_OF: dict[str, dict[str, tuple[tuple[Any, ...], str]]] = {
    "chat": ONLY,
    "completions": {
        "best_of": ((1,), "method='best-of(N)' chooses among N"),
        "suffix": (("",), "what follows a hole is for models that fill masks"),
    },
    "responses": {
        "store": ONLY["store"],
        "service_tier": ONLY["service_tier"],
        "previous_response_id": ((), "nothing is stored: send the whole conversation as input"),
        "conversation": ((), "nothing is stored: send the whole conversation as input"),
        "prompt": ((), "there are no stored prompts: send input"),
        "background": ((False,), "nothing is stored: stream the answer"),
        "truncation": (("disabled",), "send less: nothing is cut away in silence"),
        "reasoning": (({},), ONLY["reasoning_effort"][1]),
        "max_tool_calls": ((), "whoever asks calls the functions, and may stop"),
    },
}
IGNORED_OF = {
    "chat": IGNORED,
    "completions": {"user": IGNORED["user"]},
    "responses": {name: told for name, told in IGNORED.items() if name != "prediction"},
}
PROMPT = {"chat": "messages", "completions": "prompt", "responses": "input"}  # the field that has it
OTHERS = {  # settings by other names
    "log_probabilities": ("top_logprobs", "logprobs", "include"),
    "schema": ("response_format", "text"),
    "max_new_tokens": sum(LENGTHS.values(), ()),
}
MOST_STOPS = 16
MOST_LOGPROBS = 20
COMPLETION = 16  # tokens of a completion where a request does not say, as the API has it


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants, in the engine's terms."""

    endpoint: str
    body: Mapping[str, Any]
    settings: dict[str, Any]
    method: str | None
    prompts: int  # how many there are
    samples: int  # answers to each
    messages: list[Any] = field(default_factory=list)  # of a chat
    stream: bool = False
    usage: bool = False  # a last chunk that tells it
    trace: bool = False
    log_probabilities: bool = False
    echo: bool = False  # the prompt stands before the answer
    tools: list[dict[str, Any]] = field(default_factory=list)  # that the template is told of
    tool_choice: str = "auto"  # or "required", or a name

    @property
    def said(self) -> dict[str, str]:
        """Each setting that the body gave -> the field that gave it."""
        names = [*((ours, name) for name, ours in SAME.items()), *((name, name) for name in READ)]
        names += [(ours, name) for ours, others in OTHERS.items() for name in others]
        return {ours: name for ours, name in names if ours in self.settings and name in self.body}


def known(endpoint: str) -> list[str]:
    """Every field that has a meaning at an endpoint, refused ones as well."""
    return [*LENGTHS[endpoint], *SAME, *READ, *READ_OF[endpoint], *IGNORED_OF[endpoint], *ONLY_OF[endpoint]]


def parsed(text: bytes, what: str = "the body") -> Any:
    """The JSON of a body. Raises Refused."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        raise Refused(400, f"{what} is no JSON", code="invalid_json") from None


def read(body: Any, endpoint: str, limits: Limits) -> Asked:
    """What the body of a request asks for. Raises Refused for what is not served as it is meant.

    What kind of value a setting takes and in which range is for the engine to say.
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object", code="invalid_json")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in known(endpoint):
            raise Refused(
                400, f"there is no field {shown(name)}", closest(name, known(endpoint), "see docs/serve.md"), param=name
            )
        if name in ONLY_OF[endpoint] and value not in ONLY_OF[endpoint][name][0]:
            raise Refused(400, f"{name} {shown(value)} is not served", ONLY_OF[endpoint][name][1], param=name)
    if endpoint != "responses":
        return _read(given, given, endpoint, limits)
    others = {
        name: value for name, value in given.items() if name not in READ_OF["responses"] or name in READ_OF["chat"]
    }
    try:
        return _read(given, {**others, **as_chat(given)}, endpoint, limits)
    except Refused as refused:
        refused.param = "text" if refused.param == "response_format" else refused.param
        raise


def _read(body: Mapping[str, Any], given: Mapping[str, Any], endpoint: str, limits: Limits) -> Asked:
    """The same, where `given` has what the body says as fields of a chat or a completion."""
    settings = _settings(given, endpoint, limits)
    tools, choice = _tools(given)
    return Asked(
        endpoint=endpoint,
        body=body,
        settings=settings,
        method=_method(given, limits),
        prompts=_prompts(given, endpoint),
        samples=settings["samples"],
        messages=given.get("messages", []),
        stream=_typed(given, "stream", bool, False),
        usage=_usage(given),
        trace=_typed(given, "trace", bool, False),
        log_probabilities="log_probabilities" in settings,
        echo=_typed(given, "echo", bool, False),
        tools=tools,
        tool_choice=choice,
    )


def _typed(given: Mapping[str, Any], name: str, kind: type, otherwise: Any) -> Any:
    """The value of a field that must be of a kind. Raises Refused."""
    value = given.get(name, otherwise)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {bool: "true or false", str: "a text", int: "a whole number", dict: "an object", list: "a list"}
        raise Refused(400, f"{name} is {shown(value)}", f"{words[kind]}", param=name)
    return value


# -- settings -----------------------------------------------------------------------------------------


def _settings(given: Mapping[str, Any], endpoint: str, limits: Limits) -> dict[str, Any]:
    settings: dict[str, Any] = {"defaults": limits.defaults, "samples": _samples(given, limits)}
    lengths = LENGTHS[endpoint]
    for name, ours in (dict.fromkeys(lengths, "max_new_tokens") | SAME).items():
        if name not in given:
            continue
        if ours in settings:
            raise Refused(400, f"{name} and another name of it are both given", f"give {name} alone", param=name)
        settings[ours] = given[name]
    if limits.defaults == "stretto":
        settings.setdefault("temperature", 1.0)
    settings.setdefault("seed", secrets.randbits(31))
    most = limits.new_tokens
    settings.setdefault("max_new_tokens", min(most, COMPLETION) if endpoint == "completions" else most)
    if isinstance(settings["max_new_tokens"], int) and settings["max_new_tokens"] > most:
        name = next(name for name in lengths if name in given)
        raise Refused(400, f"{name} is {settings['max_new_tokens']}", f"at most {most} are written here", param=name)
    if isinstance(stops := settings.get("stop"), list) and len(stops) > MOST_STOPS:
        raise Refused(400, f"stop has {len(stops)} texts", f"at most {MOST_STOPS}", param="stop")
    for each in (read_biases, read_steers, read_grammar, read_format):
        settings |= each(given)
    return settings | read_logprobs(given, endpoint)


def _samples(given: Mapping[str, Any], limits: Limits) -> int:
    samples: int = _typed(given, "n", int, 1)
    if not 1 <= samples <= limits.rows:
        raise Refused(400, f"n is {samples}", f"1 to {limits.rows}: so many answers are written at a time", param="n")
    return samples


def read_biases(given: Mapping[str, Any]) -> dict[str, Any]:
    """`logit_bias`: JSON writes the numbers of tokens as text."""
    if "logit_bias" not in given:
        return {}
    try:
        return {"logit_bias": {int(token): bias for token, bias in _typed(given, "logit_bias", dict, {}).items()}}
    except ValueError:
        raise Refused(400, "logit_bias names a token that is no number", '{"5": 1.5}', param="logit_bias") from None


def read_logprobs(given: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    """`logprobs`: true in a chat, with `top_logprobs` others beside; a number in a completion."""
    if endpoint == "completions":
        wanted, name = given.get("logprobs"), "logprobs"
    else:
        name = "top_logprobs"
        asked = _typed(given, "logprobs", bool, False)
        if name in given and not asked:
            raise Refused(400, "top_logprobs is given without logprobs", "logprobs: true", param=name)
        wanted = given.get(name, 0) if asked else None
    if wanted is None:
        return {}
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= MOST_LOGPROBS:
        raise Refused(400, f"{name} is {shown(wanted)}", f"0 to {MOST_LOGPROBS}", param=name)
    return {"log_probabilities": wanted}


def read_steers(given: Mapping[str, Any]) -> dict[str, Any]:
    """`steers`: parts by their text, such as "dry(0.8)"."""
    steers = _typed(given, "steers", list, [])
    for each in steers:
        if not isinstance(each, str):
            raise Refused(400, f"a steer is {shown(each)}", 'a text such as "dry(0.8)"', param="steers")
        require_nameless(each, "steers")
    return {"steers": steers} if steers else {}


def read_grammar(given: Mapping[str, Any]) -> dict[str, Any]:
    """`grammar`: the text of one, never a file."""
    if "grammar" not in given:
        return {}
    text = _typed(given, "grammar", str, "")
    if is_path(text):
        raise Refused(400, "grammar is no text of a grammar", 'such as root ::= "yes" | "no"', param="grammar")
    return {"grammar": text}


def read_format(given: Mapping[str, Any]) -> dict[str, Any]:
    """`response_format`: text, a JSON object, or JSON by a schema."""
    name = "response_format"
    if name not in given:
        return {}
    form = _typed(given, name, dict, {})
    if form == {"type": "text"}:
        return {}
    if form == {"type": "json_object"}:
        return {"json_object": True}
    described = form.get("json_schema")
    if form.keys() != {"type", "json_schema"} or form["type"] != "json_schema" or not isinstance(described, dict):
        hint = 'text, json_object, or {"type": "json_schema", "json_schema": {"name": …, "schema": …}}'
        raise Refused(400, f"response_format is {shown(form)}", hint, param=name)
    if surplus := described.keys() - {"name", "description", "schema", "strict"}:
        raise Refused(
            400, f"json_schema has a field {shown(min(surplus))}", "name, description, schema, strict", param=name
        )
    if not isinstance(described.get("schema"), dict):
        raise Refused(400, "json_schema has no schema", "an object: see json-schema.org", param=name)
    return {"schema": described["schema"]}


# -- method, tools, prompt, stream --------------------------------------------------------------------


def _method(given: Mapping[str, Any], limits: Limits) -> str | None:
    if "method" not in given:
        return limits.method
    text: str = _typed(given, "method", str, "")
    if text != limits.method and text not in limits.methods:
        require_nameless(text, "method")
    return text


def _tools(given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The functions that may be called, and which must be."""
    tools, choice = _typed(given, "tools", list, []), given.get("tool_choice", "auto")
    if isinstance(choice, dict) and choice.keys() == {"type", "function"} and choice["type"] == "function":
        choice = choice["function"].get("name") if isinstance(choice["function"], dict) else None
    elif choice not in ("auto", "none", "required"):
        choice = None
    if not isinstance(choice, str):
        hint = '"auto", "none", "required" or {"type": "function", "function": {"name": …}}'
        raise Refused(400, f"tool_choice is {shown(given['tool_choice'])}", hint, param="tool_choice")
    for tool in tools:
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            raise Refused(400, f"a tool is {shown(tool)}", '{"type": "function", "function": {…}}', param="tools")
    if not tools and choice not in ("auto", "none"):
        raise Refused(400, "tool_choice asks for a call, and there are no tools", "give tools", param="tool_choice")
    if not _typed(given, "parallel_tool_calls", bool, True) and tools and choice == "auto":
        hint = "tool_choice 'required' gives exactly one call"
        raise Refused(400, "how often functions are called is up to the model", hint, param="parallel_tool_calls")
    return (tools, choice) if choice != "none" else ([], "auto")


def _prompts(given: Mapping[str, Any], endpoint: str) -> int:
    """How many prompts there are. Raises Refused where there is none."""
    if endpoint != "completions":
        messages = _typed(given, "messages", list, [])
        if not messages or not all(isinstance(each, dict) for each in messages):
            raise Refused(
                400, "messages are no list of messages", '[{"role": "user", "content": "…"}]', param="messages"
            )
        _typed(given, "chat_template_kwargs", dict, {})
        return 1
    prompt: Any = given.get("prompt")
    if isinstance(prompt, str) or _all(prompt, int):
        return 1
    if _all(prompt, str) or (_all(prompt, list) and all(_all(each, int) for each in prompt)):
        return len(prompt)
    raise Refused(400, f"prompt is {shown(prompt)}", "a text, token ids, or a list of either", param="prompt")


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is kind for each in value)


def _usage(given: Mapping[str, Any]) -> bool:
    options = _typed(given, "stream_options", dict, {})
    if "stream_options" in given and given.get("stream") is not True:
        raise Refused(400, "stream_options are of streams", "stream: true", param="stream_options")
    if surplus := options.keys() - {"include_usage", "include_obfuscation"}:
        raise Refused(400, f"stream_options has a field {shown(min(surplus))}", "include_usage", param="stream_options")
    if options.get("include_obfuscation"):
        raise Refused(400, "chunks are not padded", "leave include_obfuscation out", param="stream_options")
    return bool(_typed(options, "include_usage", bool, False))
