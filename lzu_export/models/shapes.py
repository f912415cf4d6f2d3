"""Sizes as plain integers, so that traced graphs contain constants instead of Shape operators."""

import warnings

import torch
from torch import Tensor


def static_shape(tensor: Tensor) -> tuple[int, ...]:
    """The tensor's shape as Python integers, also while it is traced.

    Engines are built for one input size, hence what the tracer warns of (the size becomes a
    constant) is intended.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return tuple(int(length) for length in tensor.shape)
