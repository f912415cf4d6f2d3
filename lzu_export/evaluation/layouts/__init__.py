"""Evaluation sets in the layouts in which they are distributed, one module per layout.

Images are read only when their turn comes; missing files are reported when a set is opened.
"""
