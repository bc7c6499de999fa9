"""Models evaluate windows of tokens into logits. They know no text and no draft.

contract.py  what a model must do, what one may ask of an evaluation
window.py    the new tokens of one evaluation, and who sees whom
cache.py     keys and values of evaluated tokens: keep, truncate, fork, free
network.py   drives a transformers module's own layers (survey.py: finds out how it is built; hooks.py: stands
             between its layers; attention.py: what queries read)
whole.py     runs a module that is built otherwise, from the state that it hands back
store.py     what holds the tokens that were read (cache.py; recurrent.py: states of whole rows)
lean.py      the fast path for Llama-shaped networks (fast.py: whether a module has one; fuse.py, rotation.py: read it;
             linear.py, kernel_choice.py: its products, and which kernel makes them)
drawn/       the same where all weights are in blocks: many layers in one call of ggml
quantised.py matrices in the blocks of their file
table.py     explicit probabilities, for tests and for thinking
load.py      a folder, file or hub name -> model and tokenizer (checkpoint.py: which files; folder.py: what is in a
             folder; plain.py, tokenizer.py: read from its files alone, as shape.py and rope.py understand config.json;
             stock.py, stock_tokenizer.py: transformers' own; agreement.py, eager.py: whether a model computes the same)
gguf/        a checkpoint in one file: what is in it, which network that is, and its tokenizer
tried.py     what was found to compute alike here, and is not tried at each load
masked.py    which checkpoints fill masks, and how (published.py: their networks as modules that transformers has)
clock.py     what a window costs here (learnt.py: learnt as rounds go by; study.py: on request)
"""
