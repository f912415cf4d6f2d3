"""Limits shared by several packages."""

MAX_TOPK = 3840
"""Largest number of candidates of one TopK operator in TensorRT."""

IGNORED = 255
"""Label of pixels that belong to no class, as in Cityscapes' trainIds."""

EMULATED = "emulated"
"""Name in place of a target: a graph of lower precision in ONNX Runtime, with every half-precision
tensor rounded as on a device. It shows the cost of the precision; no bundle ships such a file."""
