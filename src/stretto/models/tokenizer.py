"""The tokenizer of a checkpoint: what text needs of it is read from tokenizer.json alone where that says everything.

transformers makes its tokenizer of the same file, of tokenizer_config.json and of what it knows of a model's kind.
Where the two files say the same and the kind changes nothing, a text is encoded and decoded by the file's own
tokenizer; transformers' is loaded when something else is asked for, such as a chat. Else it is loaded at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .checkpoint import find_folder, read_json
from .stock_tokenizer import stock

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
LEGACY = ("special_tokens_map.json", "added_tokens.json")  # say more than tokenizer.json
GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that take tokenizer.json as it is
PLAIN_KINDS = ("llama",)  # model types for which transformers then keeps to that class
NAMED = tuple(f"{name}_token" for name in ("bos", "eos", "pad", "unk", "sep", "cls", "mask"))
KNOWN = {  # keys of tokenizer_config.json that are read here, or change nothing
    *(*NAMED, "tokenizer_class", "extra_special_tokens", "added_tokens_decoder", "chat_template", "backend"),
    *("model_max_length", "is_local", "local_files_only", "name_or_path", "model_input_names", "padding_side"),
}
PLAIN = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}


class PlainTokenizer:
    """A tokenizer of the Rust library with the names of special tokens. What else is asked, transformers' answers."""

    clean_up_tokenization_spaces = False
    chat_template: Any  # the chat template, or several by name, or None

    def __init__(self, backend: Backend, special: Mapping[str, str]) -> None:
        self.backend_tokenizer = backend
        self.special = dict(special)  # the texts of bos_token and so on

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        return self.backend_tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]:
        """How tokens are written in the vocabulary; None for ids that are none."""
        return [self.backend_tokenizer.id_to_token(number) for number in ids]

    def get_vocab(self) -> dict[str, int]:
        """All tokens and their ids."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """Tokens that are looked for in a text before all others, by id."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins texts."""
        return self._named("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends texts."""
        return self._named("eos_token")

    def apply_chat_template(
        self, messages: Any, *, tokenize: bool = True, chat_template: str | None = None, **options: Any
    ) -> Any:
        """The text of messages by a template, the checkpoint's only one where none is given: see `render`."""
        source = chat_template or self.chat_template
        if tokenize or not isinstance(source, str):
            return self.own.apply_chat_template(messages, tokenize=tokenize, chat_template=chat_template, **options)
        from .chat_template import render

        return render(source, messages, **self.special | options)

    @cached_property
    def own(self) -> PreTrainedTokenizerBase:
        """transformers' tokenizer, which does the same."""
        raise NotImplementedError

    def _named(self, name: str) -> int | None:
        token = self.special.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.own(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copies and pickles
            raise AttributeError(name)
        return getattr(self.own, name)


class FileTokenizer(PlainTokenizer):
    """tokenizer.json by itself. Whatever else is asked of it, transformers' tokenizer of the folder answers."""

    def __init__(self, folder: Path, backend: Backend, settings: Mapping[str, Any]) -> None:
        super().__init__(backend, {name: settings[name] for name in NAMED if settings.get(name) is not None})
        self._folder = folder
        self._settings = settings

    @property
    def chat_template(self) -> Any:
        """The chat template, or several by name, or None."""
        if "own" in vars(self) or (self._folder / "additional_chat_templates").exists():
            return self.own.chat_template
        file = self._folder / "chat_template.jinja"
        template = file.read_text(encoding="utf-8") if file.exists() else self._settings.get("chat_template")
        return template if template is None or isinstance(template, str) else self.own.chat_template

    @cached_property
    def own(self) -> PreTrainedTokenizerBase:
        """transformers' tokenizer of the same folder."""
        return stock(self._folder, general=True)


if TYPE_CHECKING:
    Tokenizer: TypeAlias = PlainTokenizer | PreTrainedTokenizerBase  # either reads and writes text


def load_tokenizer(name: str | Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint, without its weights; None where the checkpoint has none. Raises ModelError."""
    folder = find_folder(name)
    if not any((folder / file).exists() for file in FILES):
        return None
    return from_file(folder) or stock(folder)


def from_file(folder: Path) -> FileTokenizer | None:
    """tokenizer.json by itself; None where transformers' tokenizer of this folder may be another."""
    from tokenizers import Tokenizer as Backend

    names = ("config.json", "tokenizer_config.json", "tokenizer.json")
    if any((folder / name).exists() for name in LEGACY) or not all((folder / name).exists() for name in names):
        return None
    try:
        content, settings, held = (read_json(folder / name) for name in names)
        if content.get("model_type") in PLAIN_KINDS and _says_no_more(settings, held):
            return FileTokenizer(folder, Backend.from_file(str(folder / names[-1])), settings)
    except Exception:  # of a file that is none of a tokenizer: transformers' reading of it tells what is wrong
        return None
    return None


def _says_no_more(settings: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Whether tokenizer_config.json names only special tokens that tokenizer.json holds in just that form."""
    added = {token["content"]: token for token in held["added_tokens"]}
    decoder = {str(token["id"]): {name: token[name] for name in token if name != "id"} for token in added.values()}
    named = [settings[name] for name in NAMED if settings.get(name) is not None]
    named += settings.get("extra_special_tokens") or []
    return (
        settings.get("tokenizer_class") in GENERAL
        and all(name in KNOWN or not value for name, value in settings.items())
        and settings.get("added_tokens_decoder", decoder) == decoder
        and held.get("truncation") is None
        and held.get("padding") is None
        and all(isinstance(token, str) and added.get(token, {}).items() >= PLAIN.items() for token in named)
    )
