"""Evaluation sets in the layouts in which they are distributed, one module per layout.

No image is read before its turn, and files that are missing are named when a set is opened.
"""
