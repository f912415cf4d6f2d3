"""The `lzu` operators: one file per operator, their registry, and their PyTorch implementation.

Only `torch_ops`, `differentiable` and `linear_weights` need torch to be imported, since graphs are
lowered without it.
"""
