"""Parts of the target that draft for it: which of its layers guess.

contract.py   what says which layers guess
source.py     those layers at work, over keys and values copied from the target's cache
"""
