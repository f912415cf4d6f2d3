"""Named post-processings of a network's raw outputs, one module for each kind. NumPy only.

`make.make_postprocess` makes the one that a recipe names.
"""
