"""The `lzu` operators: one file per operator, their registry, and their PyTorch implementation.

Only `torch_ops`, `differentiable`, `linear_weights` and `axis_products` need torch to be imported,
since graphs are lowered without it.
"""
