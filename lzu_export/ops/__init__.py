"""The `lzu` operators: one file an operator, a registry of them, and their PyTorch side.

Only `torch_ops`, `differentiable` and `hats` import torch: graphs are lowered without it.
"""
