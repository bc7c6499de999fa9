"""What decoding did and could do: measures of traces and of models, and the map of the methods.

metrics.py   what a trace says: tokens per round, acceptance by depth, rank and source
arness.py    how far a decode went from left to right
theory.py    what drafting can give at best
joint.py     what is lost by writing several tokens of an answer at once
parallel.py  the same for ParallelBench's questions
surplus.py   how much a hidden state knows beyond the next token
spectrum.py  entropy of heads, gaps between them, and which contexts lie together
survey.py    a model read over a text: all of these layer by layer
leakage.py   how much of a secret drawn answers give away at most
sensitivity.py  how much right answers depend on how a question is put
taxonomy.py  the catalogue under the flags of two surveys, as a page
filling.py   the methods that fill masks along the axes of a third, and which parts stand together
support.py   what each method does with each kind of request, as a page
"""
