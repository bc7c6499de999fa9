"""Networks over weights in blocks, drawn for ggml and computed many layers in one call.

network.py is the fast path; layer.py draws one of its layers, reader.py what it reads of keys and values, coded.py
products and what stands around them; four_bits.py lays matrices out for the fastest kernel; drawing.py makes operations
one call of ggml.py, the library.
"""
