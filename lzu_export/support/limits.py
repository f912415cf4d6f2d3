"""Limits shared by several packages."""

MAX_TOPK = 3840
"""Candidates of one TopK operator in TensorRT."""

IGNORED = 255
"""The label of pixels that belong to no class, as in Cityscapes' trainIds."""

EMULATED = "emulated"
"""In place of a target: the graph of a lower precision in ONNX Runtime, every half-precision tensor
rounded as a device would round it. It is what the precision costs; no bundle ships such a file."""
