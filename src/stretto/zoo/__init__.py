"""The small trained models that ship with the package, found by name."""

from __future__ import annotations

from pathlib import Path

from stretto.errors import ModelError, UnknownName, closest

_ROOT = Path(__file__).parent


def names() -> list[str]:
    """The shipped models, in alphabetical order; each is a Hugging Face checkpoint folder with a model card."""
    return sorted(config.parent.name for config in _ROOT.glob("*/config.json"))


def path(name: str) -> Path:
    """The checkpoint folder of that name; `UnknownName` says which there are, `ModelError` that weights are missing."""
    if name in draft_heads():
        raise UnknownName(f"zoo/{name} is a head, no model", hint=f"draft by it: --method {name}")
    if name not in names():
        there = "the zoo has " + (", ".join(names()) or "no models yet")
        raise UnknownName(f"no zoo model {name!r}", hint=closest(name, [*names(), *draft_heads()], there))
    folder = _ROOT / name
    if not (folder / "model.safetensors").exists():
        raise ModelError(
            f"the zoo model {name!r} has no weights",
            hint="install the package again, or train it anew with `stretto train zoo`",
        )
    return folder


def heads() -> list[str]:
    """The shipped heads (`stretto.models.head`), in alphabetical order."""
    return sorted(file.stem for file in _ROOT.glob("heads/*.safetensors"))


def head(name: str) -> Path:
    """The file of the head of that name; `UnknownName` says which there are."""
    if name not in heads():
        raise UnknownName(f"no zoo head {name!r}", hint="the zoo has " + (", ".join(heads()) or "no heads"))
    return _ROOT / "heads" / f"{name}.safetensors"


def draft_heads() -> list[str]:
    """The names of the heads that draft, in alphabetical order."""
    return sorted(config.parent.name for config in _ROOT.glob("heads/*/config.json"))


def draft_head(name: str) -> Path | None:
    """The folder of the head that drafts, by its name (`zoo/eagle`); None where none is named so."""
    folder = _ROOT / "heads" / name.removeprefix("zoo/")
    return folder if (folder / "config.json").is_file() else None
