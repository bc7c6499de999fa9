"""Names that people bring from transformers, vLLM, llama.cpp and OpenAI: which are ours, and what to use for the rest.

Data alone, and the two ways of asking it. A name stands in `SAME` only where it means exactly what ours means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import InvalidRequest, closest

FORMS = {"schema", "json_object", "regex", "grammar", "choices", "tools", "after", "close"}  # see `constrain/forms.py`

SAME = {  # their name -> ours
    "max_tokens": "max_new_tokens",  # OpenAI, vLLM
    "max_completion_tokens": "max_new_tokens",  # OpenAI
    "max_output_tokens": "max_new_tokens",  # OpenAI, Gemini
    "max_gen_toks": "max_new_tokens",  # lm-evaluation-harness
    "n_predict": "max_new_tokens",  # llama.cpp
    "num_predict": "max_new_tokens",  # Ollama
    "min_tokens": "min_new_tokens",  # vLLM
    "n": "samples",  # OpenAI, vLLM
    "num_return_sequences": "samples",  # transformers
    "temp": "temperature",  # llama.cpp
    "typical": "typical_p",  # llama.cpp
    "epsilon_cutoff": "epsilon",  # transformers
    "eta_cutoff": "eta",  # transformers
    "no_repeat_ngram_size": "no_repeat_ngram",  # transformers
    "suppress_tokens": "banned_tokens",  # transformers
    "allowed_token_ids": "allowed_tokens",  # vLLM
    "eos_token_id": "end_tokens",  # transformers
    "stop_strings": "stop",  # transformers
    "stop_sequences": "stop",  # TGI, Anthropic
    "until": "stop",  # lm-evaluation-harness
    "random_seed": "seed",  # Mistral
    "logits_processor": "steers",  # transformers
    "control_vector": "edits",  # llama.cpp
    "control_vector_scaled": "edits",  # llama.cpp
    "guided_json": "schema",  # vLLM
    "json_schema": "schema",  # llama.cpp
    "json": "json_object",
    "guided_regex": "regex",  # vLLM
    "guided_grammar": "grammar",  # vLLM
    "grammar_file": "grammar",  # llama.cpp
    "guided_choice": "choices",  # vLLM
    "stopping_criteria": "stopping",  # transformers
    "logprobs": "log_probabilities",  # vLLM, OpenAI's completions
    "log_probs": "log_probabilities",  # our own short form on the command line
    "torch_dtype": "dtype",  # transformers
    "model_name_or_path": "model",  # transformers
    "predict": "max_new_tokens",  # llama.cpp, on the command line
    "system_prompt": "system",  # llama.cpp, on the command line
}

_GUIDED = "use schema=…, regex=…, grammar=… or choices=…, whichever of them it holds"
_DRAFT = "name the draft in the method: method='draft(model=FOLDER)'"
_BEAMS = "name the search: method='beam(N)'; `stretto methods beam` tells its settings"
_STREAM = "use engine.stream(…), which gives the answer piece by piece; the command line streams by itself"
_CACHE = "leave it out: caches are the engine's own matter"
_TEXT = "leave it out: an answer has both, its text and its tokens"
_SAMPLER = "there is no such sampler: see temperature, top_k, top_p, min_p, typical_p and `stretto methods --parts`"
_MIROSTAT = "use steers=['mirostat_v2(5)'] and a temperature: mirostat_v2(tau,eta), or mirostat_v1"
_GUIDANCE = "use steers=['guide(2)']; for models that fill masks, add cfg(weight=…) to the method"
_ADAPTER = "name the folder that PEFT saved when loading: adapter=FOLDER, --adapter FOLDER"
_ONE_DEVICE = "a model runs on one device: device='cpu' or 'cuda'"
_CHAT = "give it to engine.chat(messages, …); the command line passes none to the template"
_LENGTH = "{}, which counts new tokens only, not those of the prompt"

INSTEAD = {  # their name -> what to use
    "dola_layers": "name the layers by number: steers=['dola(0,2,4)']",
    "control_vector_layer_range": "name the layers in a part: 'lookup+vector(FILE,first=2,last=9)', counted from 1",
    "max_length": "use " + _LENGTH.format("max_new_tokens"),
    "min_length": "use " + _LENGTH.format("min_new_tokens"),
    "do_sample": "use temperature: above 0 samples, 0 is greedy",
    "greedy": "use temperature=0, which is the default",
    "best_of": "name the search: method='best-of(N)'; `stretto methods best-of` tells its settings",
    "use_beam_search": _BEAMS,
    "num_beams": _BEAMS,
    "num_beam_groups": _BEAMS,
    "diversity_penalty": _BEAMS,
    "length_penalty": _BEAMS,
    "early_stopping": _BEAMS,
    "beam_width": _BEAMS,
    "top_logprobs": "use log_probabilities=N, which reports each token's and the N best beside it",
    "n_probs": "use log_probabilities=N, which reports the logarithms of the N best",
    "prompt_logprobs": "log-probabilities are of new tokens only: log_probabilities=N",
    "output_scores": "use log_probabilities=N",
    "output_logits": "use log_probabilities=N",
    "echo": "an answer has prompt_tokens beside its tokens",
    "stop_token_ids": "use end_tokens, which stand instead of the checkpoint's own: name those as well",
    "ignore_eos": "use end_tokens=(), and the answer goes on to its limit",
    "include_stop_str_in_output": "the text ends before the stop string, always",
    "forced_eos_token_id": "leave it out: an answer ends at its limit without an end token",
    "bad_words": "use banned_tokens, which are token ids",
    "bad_words_ids": "use banned_tokens, which are single token ids",
    "sequence_bias": "use logit_bias, of single tokens",
    "begin_suppress_tokens": "use banned_tokens, which hold for the whole answer",
    "repeat_penalty": "use repetition_penalty, which looks at the whole text and not at its last tokens only",
    "repeat_last_n": "leave it out: repetition_penalty looks at the whole text",
    "penalty_alpha": "there is no contrastive search; see presence_penalty",
    "guidance_scale": _GUIDANCE,
    "cfg_scale": _GUIDANCE,
    "negative_prompt": "use the steer guide(2,negative=…): steers=[Guide(2, text)]; models that fill masks have cfg()",
    "negative_prompt_ids": "use the steer guide(2,negative=(5,17)): steers=[Guide(2, ids)]",
    "top_a": "use steers=['top_a(0.2)']",
    "top_n_sigma": "use steers=['top_n_sigma(1)']",
    "top_h": "use steers=['top_h(0.4)']",
    "tfs_z": _SAMPLER,
    "mirostat": _MIROSTAT,
    "mirostat_tau": _MIROSTAT,
    "mirostat_eta": _MIROSTAT,
    "xtc_probability": "use steers=['xtc(0.5)']: xtc(probability,threshold)",
    "xtc_threshold": "use steers=['xtc(0.5)']: xtc(probability,threshold)",
    "dry_multiplier": "use steers=['dry(0.8)']: dry(multiplier,base,allowed,last,breakers)",
    "dynatemp_range": "use steers=['edt(0.5)'], a temperature that follows the entropy",
    "samplers": "the order of the steps is fixed, see docs/steers.md",
    "logits_processors": "use steers, which takes functions of (input ids [1, L], scores [1, V])",
    "max_time": "use max_new_tokens, or stop reading a stream",
    "stream": _STREAM,
    "streamer": _STREAM,
    "stream_options": _STREAM,
    "guided_decoding": _GUIDED,
    "structured_outputs": _GUIDED,
    "response_format": _GUIDED,
    "assistant_model": _DRAFT,
    "draft_model": _DRAFT,
    "model_draft": _DRAFT,
    "speculative_model": _DRAFT,
    "speculative_config": _DRAFT,
    "num_assistant_tokens": "name it in the method: method='draft+fixed(N)'",
    "num_speculative_tokens": "name it in the method: method='draft+fixed(N)'",
    "draft_max": "name it in the method: method='draft+fixed(N)'",
    "prompt_lookup_num_tokens": "name it in the method: method='lookup+fixed(N)'",
    "max_matching_ngram_size": "name it in the method: method='lookup(longest=N)'",
    "generation_config": "use defaults='model', which takes the checkpoint's generation_config.json",
    "messages": "give them first, without a name: engine.chat(messages)",
    "input_ids": "give the token ids as the prompt",
    "inputs": "give them as the prompt: text, token ids or messages",
    "prompt": "give it first, without a name on the command line",
    "suffix": "text after a hole is for models that fill masks: engine.infill('… <|5|> …')",
    "attention_mask": "leave it out: prompts of unlike lengths stand in one list, without padding",
    "pad_token_id": "leave it out: prompts of unlike lengths stand in one list, without padding",
    "use_cache": _CACHE,
    "cache_implementation": _CACHE,
    "cache_prompt": _CACHE,
    "past_key_values": _CACHE,
    "return_dict_in_generate": _TEXT,
    "return_full_text": _TEXT,
    "skip_special_tokens": "engine.decode(answer.tokens) leaves special tokens out; answer.tokens holds them",
    "tool_choice": "give it to engine.chat(messages, tools=…, tool_choice=…); tools= as a setting asks for a call",
    "template": _CHAT,
    "template_options": _CHAT,
    "allow_control_tokens": _CHAT,
    "chat_template": "use engine.chat(messages, template=…), which takes one of the checkpoint's by name, or a text",
    "chat_template_kwargs": "use engine.chat(messages, template_options={…})",
    "sampling_params": "give its fields as settings: temperature=…, top_p=…",
    "timeout": "use max_new_tokens, or stop reading a stream",
    "user": "leave it out: nobody is told apart here",
    # of load
    "device_map": "use device='cpu', 'cuda' or 'auto': " + _ONE_DEVICE,
    "gpu": "use --device cuda",
    "cpu": "use --device cpu",
    "n_gpu_layers": _ONE_DEVICE,
    "gpu_layers": _ONE_DEVICE,
    "tensor_parallel_size": _ONE_DEVICE,
    "gpu_memory_utilization": "leave it out: memory is asked for as it is needed",
    "load_in_8bit": "use weights='int8'",
    "load_in_4bit": "use weights='int4'",
    "quantization": "use weights='int8' or 'int4'",
    "quantization_config": "use weights='int8' or 'int4'",
    "lora": _ADAPTER,
    "lora_path": _ADAPTER,
    "lora_request": _ADAPTER,
    "peft_model": _ADAPTER,
    "trust_remote_code": "leave it out: code that comes with a checkpoint is never run",
    "attn_implementation": "leave it out: the engine attends by itself",
    "use_safetensors": "leave it out: nothing else is read",
    "revision": "download that revision, and name its folder",
    "max_model_len": "leave it out: the checkpoint says how many positions it has; max_new_tokens limits an answer",
    "ctx_size": "leave it out: the checkpoint says how many positions it has; max_new_tokens limits an answer",
    "threads": "set OMP_NUM_THREADS in the environment",
    # of the command line
    "file": "give it on standard input: stretto generate - < FILE",
    "prompt_file": "give it on standard input: stretto generate - < FILE",
    "interactive": "use stretto chat",
    "conversation": "use stretto chat",
    "verbose": "use --stats, or --trace FILE",
    "output": "write standard output into a file, or use --trace FILE",
}

SHORT = {  # options of one dash, of llama.cpp -> what to use
    "-m": "use --model",
    "-p": INSTEAD["prompt"],
    "-f": INSTEAD["file"],
    "-n": "use --max-new-tokens",
    "-c": INSTEAD["ctx_size"],
    "-t": INSTEAD["threads"],
    "-s": "use --seed",
    "-v": INSTEAD["verbose"],
    "-i": INSTEAD["interactive"],
    "-cnv": INSTEAD["conversation"],
    "-ngl": INSTEAD["n_gpu_layers"],
    "-md": INSTEAD["model_draft"],
    "-o": INSTEAD["output"],
}

COMMANDS = {  # what people type after `stretto` -> what to type
    "run": "stretto generate answers, stretto chat converses",
    "complete": "stretto generate continues a text",
    "completion": "stretto generate continues a text",
    "ask": "stretto generate --chat answers, stretto chat converses",
    "infer": "stretto generate answers",
    "infill": "stretto generate --infill fills the holes of a text",
    "server": "stretto serve answers over HTTP",
    "convert": "nothing is converted: name a GGUF file, or a folder with config.json and model.safetensors, by --model",
    "quantize": "nothing is written: --weights int8 computes with small weights",
    "download": "name a model of the hub by --model, and it is fetched",
    "pull": "name a model of the hub by --model, and it is fetched",
    "list": "stretto methods lists the ways of decoding",
    "benchmark": "stretto bench measures",
    "eval": "stretto bench measures",
    "evaluate": "stretto bench measures",
    "test": "stretto verify compares two methods token by token",
    "compare": "stretto verify compares two methods token by token",
    "finetune": "stretto train trains what ships with stretto; checkpoints are trained elsewhere",
    "tokenize": "engine.encode(text) in Python gives the token ids",
    "help": "stretto --help",
    "version": "stretto --version",
}

FILES = {  # how a file's name ends -> what to name instead
    ".gguf": "check the path",
    ".ggml": "GGML is not read: name a GGUF file, or the folder of the checkpoint that it was made from",
    ".onnx": "ONNX is not read: name the folder of the checkpoint that it was exported from",
    ".bin": "pickled weights are not read: save_pretrained of transformers writes the folder that is",
    ".pt": "pickled weights are not read: save_pretrained of transformers writes the folder that is",
    ".pth": "pickled weights are not read: save_pretrained of transformers writes the folder that is",
    ".ckpt": "pickled weights are not read: save_pretrained of transformers writes the folder that is",
    ".safetensors": "name the folder in which it stands, beside its config.json",
    ".json": "name the folder in which it stands, beside model.safetensors",
    ".model": "name the folder in which it stands, beside config.json and model.safetensors",
}


def ours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under our names. Raises InvalidRequest where one is given twice, under two names."""
    found: dict[str, str] = {}
    for name in settings:
        first = found.setdefault(SAME.get(name, name), name)
        if first != name:
            raise InvalidRequest(f"{first} and {name} are the same setting", hint=f"give {SAME.get(name, name)} alone")
    return {ours: settings[theirs] for ours, theirs in found.items()}


def meant(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for a name that is not known: what to use instead of theirs, or what was probably meant."""
    return SHORT.get(name) or INSTEAD.get(name.lstrip("-").replace("-", "_")) or closest(name, known, otherwise)
