"""The body of `/v1/responses`, said as one of a chat: its items are messages, its functions tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values import shown
from .errors import Refused

TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")  # parts that are text
HELD = {  # kinds of items -> what each must hold
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": (),
}


def as_chat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a chat that mean the same. Raises Refused.

    >>> chat = as_chat({"input": "Spell owl.", "instructions": "Be brief."})
    >>> [message["content"] for message in chat["messages"]]
    ['Be brief.', 'Spell owl.']
    """
    made: dict[str, Any] = {"messages": messages_of(given)}
    if "tools" in given:
        made["tools"] = _tools(given["tools"])
    if isinstance(choice := given.get("tool_choice"), dict):
        if choice.keys() != {"type", "name"} or choice["type"] != "function":
            hint = '"auto", "none", "required" or {"type": "function", "name": …}'
            raise Refused(400, f"tool_choice is {shown(choice)}", hint, param="tool_choice")
        made["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    if "text" in given:
        made |= _form(given["text"])
    if given.get("include", []) not in ([], ["message.output_text.logprobs"]):
        hint = '["message.output_text.logprobs"], or leave it out'
        raise Refused(400, f"include is {shown(given['include'])}", hint, param="include")
    made["logprobs"] = bool(given.get("include")) or "top_logprobs" in given
    return made


def messages_of(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Instructions and input as messages. A run of calls is one message of the assistant, as templates have it."""
    instructions, items = given.get("instructions"), given.get("input")
    if not isinstance(instructions, str | None):
        raise Refused(400, f"instructions are {shown(instructions)}", "a text", param="instructions")
    made: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(items, str):
        return [*made, {"role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        raise Refused(400, f"input is {shown(items)}", "a text, or a list of messages and calls", param="input")
    thought = ""
    for item in items:
        kind = _kind(item)
        if kind == "reasoning":
            thought += "".join(_text(item.get(name) or []) for name in ("content", "summary"))
            continue
        said = _message(item, kind)
        if said["role"] == "assistant":
            said |= {"reasoning_content": thought} if thought else {}
            if kind == "function_call" and made and made[-1]["role"] == "assistant":
                calls = made[-1].setdefault("tool_calls", [])
                calls += said["tool_calls"]
                thought = ""
                continue
        thought = ""
        made.append(said)
    return made


def _kind(item: Any) -> str:
    """What an item is. Raises Refused for what this server has no use for."""
    if not isinstance(item, dict):
        raise Refused(400, f"an item of input is {shown(item)}", '{"role": "user", "content": "…"}', param="input")
    kind = item.get("type", "message")
    if not isinstance(kind, str) or kind not in HELD:
        raise Refused(400, f"items of type {shown(kind)} are not read", ", ".join(HELD), param="input")
    if lacking := next((name for name in HELD[kind] if item.get(name) is None), None):
        raise Refused(400, f"an item of type {kind} has no {lacking}", ", ".join(HELD[kind]), param="input")
    return kind


def _message(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == "message":
        content = item["content"] if isinstance(item["content"], str) else _text(item["content"])
        return {"role": item["role"], "content": content}
    if kind == "function_call_output":
        output = item["output"] if isinstance(item["output"], str) else _text(item["output"])
        return {"role": "tool", "tool_call_id": item["call_id"], "content": output}
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _text(parts: Any) -> str:
    """Parts that are all text. Raises Refused."""
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Refused(400, f"content is {shown(parts)}", "a text, or a list of parts", param="input")
    for part in parts:
        if part.get("type") not in TEXTS or not isinstance(part.get("text"), str):
            kind = part.get("type")
            raise Refused(400, f"parts of type {shown(kind)} are not read", "parts that are text", param="input")
    return "".join(part["text"] for part in parts)


def _tools(tools: Any) -> Any:
    if not isinstance(tools, list):
        return tools
    for tool in tools:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            hint = '{"type": "function", "name": …, "parameters": {…}}: none else runs here'
            raise Refused(400, f"a tool is {shown(tool)}", hint, param="tools")
    flat = [{name: value for name, value in tool.items() if name != "type"} for tool in tools]
    return [{"type": "function", "function": each} for each in flat]


def _form(text: Any) -> dict[str, Any]:
    """`text`: of which form the answer is."""
    if not isinstance(text, dict) or (surplus := text.keys() - {"format", "verbosity"}):
        what = f"text has a field {shown(min(surplus))}" if isinstance(text, dict) else f"text is {shown(text)}"
        raise Refused(400, what, '{"format": …}', param="text")
    if text.get("verbosity") not in (None, "medium"):
        raise Refused(400, "verbosity is not served", "say in the prompt how long the answer is to be", param="text")
    form = text.get("format")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return {} if form is None else {"response_format": form}
    return {"response_format": {"type": "json_schema", "json_schema": {k: v for k, v in form.items() if k != "type"}}}
