"""Limits of the targets that more than one room must respect."""

MAX_TOPK = 3840
"""Candidates of one TopK operator in TensorRT."""

IGNORED = 255
"""The label of pixels that belong to no class, as in Cityscapes' trainIds."""
