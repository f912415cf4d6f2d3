"""Read sizes as plain integers, so that traced graphs have constants instead of Shape operators."""

import warnings

import torch
from torch import Tensor


def static_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the tensor's shape as Python integers, also while it is traced.

    The tracer warns that the size becomes a constant, which is intended: engines are built for one
    input size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return tuple(int(length) for length in tensor.shape)
