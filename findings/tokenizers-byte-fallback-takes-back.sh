#!/usr/bin/env bash
# tokenizers 0.23.3: with byte fallback, characters that were already whole turn to U+FFFD while the next one is
# unfinished; a DecodeStream has shown them by then, and ends with another text than `decode`.
#
# Guess: decoding one token more only changes the end of the text: the unfinished character is U+FFFD, those before it
# stay. A DecodeStream gives, piece by piece, the text of `decode`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tokenizers==0.23.3 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from tokenizers import Tokenizer, decoders, models
from tokenizers.decoders import DecodeStream

print("tokenizers", version("tokenizers"))
LOST = "\N{REPLACEMENT CHARACTER}"
vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"<unk>": 256, "▁a": 257}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
llama = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
tokenizer.decoder = decoders.Sequence(llama)  # as Llama 2, Mistral and Gemma have it

ids = [257, *"é日".encode()]
grown = [tokenizer.decode(ids[:size]) for size in range(1, len(ids) + 1)]
for size, text in enumerate(grown, 1):
    print(f"{size} tokens: {text!r}")

letters = {"Ã": 0, "©": 1, "æ": 2, "Ĺ": 3, "¥": 4}  # the same five bytes as GPT-2, Llama 3 and Qwen write them
level = Tokenizer(models.BPE(vocab=letters, merges=[]))
level.decoder = decoders.ByteLevel()
other = [level.decode([0, 1, 2, 3, 4][:size]) for size in range(1, 6)]
print("byte level, byte by byte:", *map(repr, other))


def streamed(tokens: list[int]) -> list[str | None]:
    stream = DecodeStream(skip_special_tokens=False)
    return [stream.step(tokenizer, token) for token in tokens]


whole, cut = streamed(ids), streamed(ids[:-1])
print("stream, to the end:", whole)
print("stream, cut short: ", cut, "where decode has", repr(grown[-2]))

assert grown == ["a", f"a{LOST}", "aé", f"a{LOST * 3}", f"a{LOST * 4}", "aé日"], grown
assert other == [LOST, "é", f"é{LOST}", f"é{LOST}", "é日"], other
assert whole == ["a", None, "é", None, None, "日"] and cut == whole[:-1], (whole, cut)
print("As found: `é` was shown, is gone for two tokens, and comes back; a byte-level decoder keeps it. The stream")
print("shows it and does not take it back, so a text that ends there is `aé` in the stream and four signs of loss in decode.")
PYTHON
