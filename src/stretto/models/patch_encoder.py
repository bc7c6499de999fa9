"""A small encoder of pictures: patches that attend to each other, and become rows for a language model.

A token of its own (CLS) gathers what is in the picture; of its output a linear layer says which objects there are. Its
attention to the patches is what DAMRO looks at, and any layer's attention can be put in another's place (CausalMM).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InvalidRequest, ModelError
from ..files import replacing, write_text
from .pictures import Picture

WEIGHTS, SETTINGS = "encoder.safetensors", "encoder.json"  # beside a checkpoint's own

Attended = Callable[[int, Tensor], Tensor]  # layer, probabilities [B, H, 1 + n, 1 + n] -> others in their place


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an encoder is made of."""

    side: int = 32  # pixels of a picture
    patch: int = 4  # pixels of a patch
    channels: int = 64
    layers: int = 2
    heads: int = 4
    rows: int = 96  # channels of the language model
    labels: int = 20  # objects that are told
    image_token: int = 2  # of the language model: stands where pictures are


@dataclass(frozen=True, slots=True)
class Seen:
    """What an encoder makes of B pictures of n patches."""

    rows: Tensor  # [B, n, C] as they enter the language model
    salience: Tensor  # [B, n] what CLS attends to in the last layer, all heads as one
    labels: Tensor  # [B, objects] logits: whether each is there


class PatchEncoder(nn.Module):
    """Pictures [B, 3, side, side] to rows."""

    def __init__(self, sizes: Sizes = Sizes()) -> None:
        super().__init__()
        self.sizes, wide = sizes, sizes.channels
        count = (sizes.side // sizes.patch) ** 2
        self.patches = nn.Linear(3 * sizes.patch**2, wide)
        self.first = nn.Parameter(torch.randn(1, 1, wide) / wide**0.5)
        self.places = nn.Parameter(torch.randn(1, 1 + count, wide) / wide**0.5)
        self.layers = nn.ModuleList(Layer(wide, sizes.heads) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(wide)
        self.projector = nn.Sequential(nn.Linear(wide, sizes.rows), nn.GELU(), nn.Linear(sizes.rows, sizes.rows))
        self.labels = nn.Linear(wide, sizes.labels)

    def forward(self, pixels: Tensor, attended: Attended | None = None) -> Seen:
        """What it sees; `attended` may put other attention in the place of its own."""
        patches = functional.unfold(pixels, self.sizes.patch, stride=self.sizes.patch).mT  # [B, n, 3 * patch²]
        rows = torch.cat([self.first.expand(len(pixels), -1, -1), self.patches(patches)], 1) + self.places
        layers = [each for each in self.layers if isinstance(each, Layer)]
        for index, layer in enumerate(layers):
            if layer is layers[-1]:
                salience = layer.whole(rows)[:, 0, 1:]
            rows = layer(rows, index, attended)
        rows = self.norm(rows)
        return Seen(self.projector(rows[:, 1:]), salience, self.labels(rows[:, 0]))

    def save(self, folder: Path) -> None:
        """Leave weights and sizes in a folder."""
        from safetensors.torch import save_file

        with replacing(folder / WEIGHTS) as unfinished:
            save_file(self.state_dict(), unfinished)
        write_text(folder / SETTINGS, json.dumps(asdict(self.sizes)) + "\n")

    @classmethod
    def load(cls, folder: Path) -> PatchEncoder:
        """The encoder that stands beside a checkpoint. Raises ModelError where there is none."""
        from safetensors.torch import load_file

        if not (folder / WEIGHTS).is_file() or not (folder / SETTINGS).is_file():
            raise ModelError(f"{folder} has no encoder", hint=f"it would be {WEIGHTS}, and {SETTINGS} beside")
        encoder = cls(Sizes(**json.loads((folder / SETTINGS).read_text(encoding="utf-8"))))
        weights = {name: weight.float() for name, weight in load_file(folder / WEIGHTS).items()}
        encoder.load_state_dict(weights)
        return encoder.eval().requires_grad_(False)


class PatchSight:
    """What an encoder that is trained does for prompts: pixels [3, side, side] of one picture become rows."""

    def __init__(self, encoder: PatchEncoder) -> None:
        self.encoder = encoder
        self.image_token = encoder.sizes.image_token

    def picture(self, pixels: Tensor) -> Picture:
        """The picture of these pixels."""
        return Picture.of(pixels, self)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Rows [n, C]."""
        return self._seen(pixels).rows[0]

    def salience(self, pixels: Tensor) -> Tensor:
        """What the summary attends to: [n]."""
        return self._seen(pixels).salience[0]

    def labels(self, pixels: Tensor) -> Tensor:
        """How likely each object is there: [objects]."""
        return self._seen(pixels).labels[0].sigmoid()

    def changed(self, pixels: Tensor, change: Attended) -> Tensor:
        """Rows [n, C], with other attention in the encoder's layers."""
        return self._seen(pixels, change).rows[0]

    @torch.inference_mode()
    def _seen(self, pixels: Tensor, change: Attended | None = None) -> Seen:
        side = self.encoder.sizes.side
        if pixels.shape != (3, side, side):
            raise InvalidRequest(
                f"the encoder sees pixels [3, {side}, {side}], not {list(pixels.shape)}", hint="resize the picture"
            )
        found: Seen = self.encoder(pixels[None].float(), change)
        return Seen(found.rows.clone(), found.salience.clone(), found.labels.clone())


class Layer(nn.Module):
    """Attention of all rows to all, then an MLP."""

    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.qkv, self.out = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)
        self.mlp = nn.Sequential(nn.Linear(wide, 2 * wide), nn.GELU(), nn.Linear(2 * wide, wide))

    def forward(self, rows: Tensor, index: int, attended: Attended | None) -> Tensor:
        """[B, T, W] -> [B, T, W]."""
        parts = self.qkv(self.attention_norm(rows)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts
        shares = (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)
        if attended is not None:
            shares = attended(index, shares)
        rows = rows + self.out((shares @ values).transpose(1, 2).flatten(2))
        found: Tensor = rows + self.mlp(self.mlp_norm(rows))
        return found

    def whole(self, rows: Tensor) -> Tensor:
        """Attention with all heads as one, scaled by the full width, as DAMRO takes it: [B, T, T]."""
        queries, keys, _ = self.qkv(self.attention_norm(rows)).chunk(3, dim=-1)
        shares: Tensor = (queries @ keys.mT * rows.shape[-1] ** -0.5).softmax(-1)
        return shares
