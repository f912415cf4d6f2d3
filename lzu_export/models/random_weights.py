"""Give models untrained weights."""

import torch
from torch import nn


def randomise(model: nn.Module, seed: int) -> None:
    """Fill a model with random weights, for timing: activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.35, 0.7, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
