"""Draft and verify: propose a tree, evaluate it at once, commit a path of it.

contract.py  what drafters, acceptors and planners must do
loop.py      the one loop: propose, evaluate, accept, advance
drafters/    one file each: who guesses
acceptors/   one file each: what of it is committed
planners/    one file each: how much to guess
"""
