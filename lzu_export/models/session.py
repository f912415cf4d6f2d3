"""PyTorch session with the interface of the engines', as the reference for all of them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lzu_export.models.traced_model import TracedModel
from lzu_export.support.session import Arrays, Session, TensorSpec, check_inputs


class TorchSession(Session):
    """Session that runs a TracedModel on the CPU."""

    provider = "PyTorch"
    concurrent = True

    def __init__(self, model: TracedModel, inputs: tuple[TensorSpec, ...]) -> None:
        """Store the model, and the inputs that engines made from it have."""
        self.model, self.inputs = model, inputs
        self.outputs: tuple[TensorSpec, ...] = ()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run the model and return only the engines' outputs; see `support.session.Session`."""
        values = self._values(inputs)
        return {name: values[name].numpy() for name in self.model.engine_outputs}

    def close(self) -> None:
        """Do nothing, since PyTorch frees the model with its object."""

    def all_values(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Return every probe point and output by name, in the chain's order, then the margins."""
        values = self._values(inputs)
        with torch.inference_mode():
            margins = self.model.margins(values, *self._tensors(inputs)[1:])
        return {name: value.numpy() for name, value in {**values, **margins}.items()}

    def _values(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        check_inputs(self.inputs, inputs)
        with torch.inference_mode():
            values = self.model(*self._tensors(inputs))
        return dict(zip(self.model.output_names, values, strict=True))

    def _tensors(self, inputs: Arrays) -> list[torch.Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(inputs[spec.name])) for spec in self.inputs]
