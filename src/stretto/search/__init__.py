"""Many candidate answers to one prompt, grown and pruned together.

contract.py    what a search must do
loop.py        the one loop: grow, and hand out what is certain
grams.py       followers of runs of tokens in a text, counted
superposed.py  several drafts in one stream of the cache
"""
