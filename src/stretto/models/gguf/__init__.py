"""Checkpoints in one file each, as llama.cpp and its kin read them: network, tokenizer, template and end tokens.

file.py reads what is in a file; configuration.py, weights.py and vocabulary.py tell what it means; checkpoint.py is
what loading asks for.
"""
