"""Base class of the models that an export traces."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class TracedModel(nn.Module, ABC):
    """Model whose `forward` returns the values at every probe point, then the outputs."""

    outputs: tuple[str, ...]
    """Names of the final outputs."""

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """Names of all probe points, then of the outputs, in the order of `forward`."""

    @property
    def engine_outputs(self) -> tuple[str, ...]:
        """Names of the engines' outputs."""
        return self.outputs

    @property
    def selected(self) -> tuple[str, ...]:
        """Names of probe points that are indices of entries selected by rank."""
        return ()

    def margins(self, values: Mapping[str, Tensor], *others: Tensor) -> dict[str, Tensor]:
        """Return the margins of choices among the outputs; empty if there are none."""
        return {}
