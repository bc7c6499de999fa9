"""Many candidate answers to one prompt, grown and pruned together.

contract.py     what a search must do
loop.py         the one loop: grow, and hand out what is certain
branches.py     branches as rows: they fork, are drafted for and evaluated together
stepwise.py     searches that choose each next token; ranking.py: the best of many continuations
segmentwise.py  searches that draw segments and judge them
scorer.py       what a scorer must do; scorers/: one file each
segmenter.py    what tells where a segment ends; segmenters.py: those that there are
within.py       what a search may take; texts.py: what a branch's text is
tree_search.py  what tree searches have in common; simulating.py: they at work; tree.py: what they know
unsure.py       searches that try several ways on where the model is unsure
reading.py      what a model of a scorer's own makes of texts, each token read once
adadec.py  astar.py  beam.py  best_of.py  blockwise.py  cards.py  cntp.py  gad.py (bounds.py)
guided.py  pg_td.py  ppo_mcts.py  smc.py  superposed.py  transfer_q.py  tried.py  vm_mcts.py  vote.py
grams.py        followers of runs of tokens in a text, counted
"""
