"""Chat messages to token ids: what the template writes may be control tokens, what people wrote is text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from .errors import InvalidRequest, closest
from .values import check_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .models.tokenizer import Tokenizer as ModelTokenizer

Message = Mapping[str, Any]  # role, content, and what else the template reads

WORDS = re.compile(r"[\w.-][\w. -]*")  # what cannot be part of a mark
PRIVATE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))  # characters that mean nothing to anyone
PROBE = "PROBE"
EXPECTED = '{"role": "user", "content": "…"}'


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, and how the chat template writes them. A text is one message of the user.

    What messages, tools and options hold is encoded as text, even where it spells control tokens, so that nobody can
    speak in the name of another; `allow_control_tokens` takes them for what they spell. An assistant's message at the
    end is continued.
    """

    messages: str | Sequence[Message]
    tools: Sequence[Any] | None = None  # functions, or JSON schemas of them, that the template describes
    template: str | None = None  # the name of one of the checkpoint's templates, or a Jinja template
    template_options: Mapping[str, Any] = field(default_factory=dict)  # what else the template reads: enable_thinking …
    allow_control_tokens: bool = False


class Chats:
    """The chat templates of a tokenizer."""

    def __init__(self, name: str, tokenizer: ModelTokenizer, reserved: Iterable[int] = ()) -> None:
        self.name = name  # of the model, for messages
        self._tokenizer = tokenizer
        self._reserved = frozenset(reserved)
        self._reads_parts: dict[str, bool] = {}  # by template
        self._plain: dict[tuple[str, ...], _Plain] = {}  # by control tokens and the character that stands for them

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids. Raises InvalidRequest, with the template's own words where it refuses the messages."""
        source = self.template(conversation)
        messages = self._checked(conversation.messages, source)
        options = self._options(conversation, messages[-1])
        said = {"messages": messages, "options": options}
        for text in _strings(said):
            check_text(text)
        controls = () if conversation.allow_control_tokens else self._controls(source)
        spelt = _Spelt(controls)
        if not any(map(spelt.search, _strings(said))):
            text = self._render(messages, source, options)
            return cast(list[int], self._tokenizer.encode(text, add_special_tokens=False))
        private = _private([*_strings(said), source], 1 + len(spelt.firsts))
        marked = spelt.mark(said, private[1:])
        text = self._render(marked["messages"], source, marked["options"])
        return self._without_spelling(text, controls, dict(zip(private[1:], spelt.firsts, strict=True)), private[0])

    # -- what the messages may be -------------------------------------------------------------------

    def _checked(self, messages: str | Sequence[Message], source: str) -> list[dict[str, Any]]:
        """The messages as the template wants them. Raises InvalidRequest where one is none."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if not isinstance(messages, Sequence) or not messages:
            raise InvalidRequest("there is no message", hint=EXPECTED)
        return [self._message(message, source) for message in cast(Sequence[Message], messages)]

    def _message(self, message: Message, source: str) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise InvalidRequest(f"a {type(message).__name__} is no chat message", hint=EXPECTED)
        role, content = message.get("role"), message.get("content")
        calls = role == "assistant" and bool(message.get("tool_calls"))
        if role is None or ("content" not in message and not calls):
            raise InvalidRequest("a chat message lacks its role or content", hint=EXPECTED)
        if not isinstance(role, str) or not WORDS.fullmatch(role):
            raise InvalidRequest(f"{role!r} is no role", hint="a plain word: system, user, assistant, tool …")
        if content is None and not calls:
            raise InvalidRequest(
                f"the content of a message of role {role!r} is None", hint="only tool calls go without content"
            )
        return {**message, "content": self._content(content, source)}

    def _content(self, content: Any, source: str) -> Any:
        """Text, or parts of text where the template reads parts."""
        if content is None or isinstance(content, str):
            return content or ""
        if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
            raise InvalidRequest(f"content of kind {type(content).__name__} is not read", hint="give a text")
        for part in content:
            kind = part.get("type", "of no type")
            if kind != "text":
                raise InvalidRequest(f"content parts {kind} are not read", hint="give parts of type text only")
            if not isinstance(part.get("text"), str):
                raise InvalidRequest("a part of type text has no text", hint='{"type": "text", "text": "…"}')
        return [dict(part) for part in content] if self._parts(source) else "".join(part["text"] for part in content)

    def _parts(self, source: str) -> bool:
        """Whether the template reads lists of parts: it writes their text, and not Python's or JSON's form of them."""
        if source not in self._reads_parts:
            probe = [{"role": "user", "content": [{"type": "text", "text": PROBE}]}]
            try:
                text = self._render(probe, source, {})
            except InvalidRequest:
                text = ""
            self._reads_parts[source] = PROBE in text and not re.search(rf"['\"]{PROBE}['\"]", text)
        return self._reads_parts[source]

    def _options(self, conversation: Conversation, final: Message) -> dict[str, Any]:
        """What the template is told beside the messages: tools, and to open a turn or to go on with the last one."""
        options = dict(conversation.template_options)
        if conversation.tools is not None:
            options["tools"] = [self._tool(tool) for tool in conversation.tools]
        if not {"add_generation_prompt", "continue_final_message"} & options.keys():
            goes_on = final["role"] == "assistant" and not final.get("tool_calls")
            options["continue_final_message" if goes_on else "add_generation_prompt"] = True
        return options

    def _tool(self, tool: Any) -> Any:
        from .constrain.tools import told

        return self._guarded("the tools", lambda: told(tool)) if callable(tool) else tool

    # -- the template -------------------------------------------------------------------------------

    def template(self, conversation: Conversation) -> str:
        """The Jinja text of the template. Raises InvalidRequest where there is none of that name, or none at all."""
        own, wanted = self._tokenizer.chat_template, conversation.template
        named = cast(dict[str, str], own if isinstance(own, dict) else {"default": own})
        if wanted is None:
            wanted = "tool_use" if conversation.tools and "tool_use" in named else "default"
            if wanted not in named:
                raise InvalidRequest(
                    f"{self.name} has several chat templates and no default",
                    hint=f"name one with template=: {', '.join(sorted(named))}",
                )
        if wanted not in named and "{" in wanted:
            return wanted
        if wanted not in named:
            raise InvalidRequest(f"{self.name} has no chat template {wanted!r}", hint=closest(wanted, named))
        return named[wanted]

    def _render(self, messages: list[dict[str, Any]], source: str, options: Mapping[str, Any]) -> str:
        if source != self._tokenizer.chat_template:
            options = {"chat_template": source, **options}
        text = self._guarded(
            "the messages", lambda: self._tokenizer.apply_chat_template(messages, tokenize=False, **options)
        )
        return cast(str, text)

    def _guarded(self, what: str, work: Callable[[], Any]) -> Any:
        """A template is code of the checkpoint: whatever it raises is told in its own words."""
        try:
            return work()
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InvalidRequest(
                f"the chat template of {self.name} refuses {what}: {reason}",
                hint="see its chat_template for the roles and order that it takes",
            ) from error

    # -- control tokens -----------------------------------------------------------------------------

    def _controls(self, source: str) -> tuple[str, ...]:
        """Tokens by which the template says who speaks: special ones, the model's own, and those that it names."""
        return tuple(
            token.content
            for number, token in self._added.items()
            if token.special
            or number in self._reserved
            or (token.content in source and token.content.strip("\u2581 \t\n"))  # white space is a token of some
        )

    @cached_property
    def _added(self) -> dict[int, Any]:
        """Tokens that are looked for in a text before all others, by id."""
        return dict(getattr(self._tokenizer, "added_tokens_decoder", {}))

    def _without_spelling(self, text: str, controls: tuple[str, ...], spelt: dict[str, str], mark: str) -> list[int]:
        """Ids of a rendered text: the control tokens in it are the template's, and private characters are text.

        The template's control tokens get names that no text can spell, and the tokenizer learns to read these: so
        everything else is encoded as ever, across the borders of template and messages too.
        """
        if not hasattr(self._tokenizer, "backend_tokenizer"):
            raise InvalidRequest(
                f"a message spells a control token of {self.name}, whose tokenizer cannot write it as text",
                hint="leave it out, or allow_control_tokens=True",
            )
        key = (mark, *controls)
        if key not in self._plain:
            self._plain[key] = _Plain(self._tokenizer, self._added, controls, mark)
        return self._plain[key].encode(text, spelt)


class _Plain:
    """A tokenizer that knows its control tokens by other names."""

    def __init__(self, tokenizer: ModelTokenizer, added: Mapping[int, Any], controls: Sequence[str], mark: str) -> None:
        from tokenizers import AddedToken, Tokenizer

        own = cast("Tokenizer", tokenizer.backend_tokenizer)
        self._tokenizer = Tokenizer(own.model)
        for part in ("normalizer", "pre_tokenizer"):
            if getattr(own, part) is not None:
                setattr(self._tokenizer, part, getattr(own, part))
        names = {control: f"{mark}{at}{mark}" for at, control in enumerate(controls)}
        tokens: dict[bool, list[Any]] = {True: [], False: []}
        for token in added.values():
            name = names.get(token.content)
            settings = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip", "special")}
            plain = token.normalized and name is None  # a name is looked for in the text as it stands
            tokens[token.special].append(AddedToken(name or token.content, normalized=plain, **settings))
        self._tokenizer.add_special_tokens(tokens[True])
        self._tokenizer.add_tokens(tokens[False])
        self._ids = {
            self._tokenizer.token_to_id(names.get(token.content, token.content)): n for n, token in added.items()
        }
        self._names = names
        self._control_ids = {number: token.content for number, token in added.items() if token.content in names}
        every = sorted((token.content for token in added.values()), key=len, reverse=True)  # the longest is read
        self._search = re.compile("|".join(map(re.escape, every)))

    def encode(self, text: str, spelt: Mapping[str, str]) -> list[int]:
        """Ids, where `spelt` says which character each private one stands for."""
        text = self._search.sub(lambda found: self._names.get(found[0], found[0]), text)
        for private, first in spelt.items():
            text = text.replace(private, first)
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        wrong = next((number for number in ids if number not in self._ids and number in self._control_ids), None)
        if wrong is not None:
            raise InvalidRequest(
                f"a message spells {self._control_ids[wrong]}, which this tokenizer cannot write as text",
                hint="leave it out, or allow_control_tokens=True",
            )
        return [self._ids.get(number, number) for number in ids]


class _Spelt:
    """Where strings spell control tokens, whole or as the end of a string that another may go on with."""

    def __init__(self, controls: Sequence[str]) -> None:
        self.firsts = tuple(sorted({control[0] for control in controls}))
        self._whole = re.compile(f"(?={'|'.join(map(re.escape, controls))})") if controls else None  # overlapping, too
        self._begun = {control[:end] for control in controls for end in range(1, len(control))}
        self._longest = max(map(len, self._begun), default=0)

    def search(self, text: str) -> bool:
        """Whether there is anything to mark."""
        return any(first in text for first in self.firsts) and bool(self._places(text))

    def mark(self, value: Any, private: Sequence[str]) -> Any:
        """The same data, with a private character in place of the first one of whatever spells a control token."""
        if isinstance(value, str):
            letters = list(value)
            for at in self._places(value):
                letters[at] = private[self.firsts.index(value[at])]
            return "".join(letters)
        if isinstance(value, Mapping):
            return {self.mark(key, private): self.mark(each, private) for key, each in value.items()}
        return [self.mark(each, private) for each in value] if isinstance(value, list | tuple) else value

    def _places(self, text: str) -> set[int]:
        """Where control tokens begin."""
        if self._whole is None:
            return set()
        places = {found.start() for found in self._whole.finditer(text)}
        if WORDS.fullmatch(text):
            return places  # names, roles, kinds: templates compare them
        for end in {len(text), len(text.rstrip())}:  # templates trim
            for begin in range(max(0, end - self._longest), end):
                if text[begin:end] in self._begun:
                    places.add(begin)
        return places


def _strings(value: Any) -> Iterator[str]:
    """Every string in plain data, names of fields as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _strings(key)
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


def _private(texts: Iterable[str], count: int) -> list[str]:
    """Private characters that stand in none of the texts."""
    used = set().union(*texts)
    found = (chr(number) for number in PRIVATE if chr(number) not in used)
    return [each for each, _ in zip(found, range(count), strict=False)]
