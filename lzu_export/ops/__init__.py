"""The `lzu` operators: one file an operator, a registry of them, and their PyTorch side.

Only `torch_ops`, `differentiable` and `linear_weights` import torch: graphs are lowered without it.
"""
