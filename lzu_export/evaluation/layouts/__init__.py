"""Evaluation sets in the layouts that they are distributed in, one module a layout.

No image is read before its turn, and files that are missing are named when a set is opened.
"""
