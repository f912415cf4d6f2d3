"""Base class of the models that an export traces."""

from collections.abc import Mapping

from torch import Tensor, nn


class TracedModel(nn.Module):
    """Model whose `forward` returns the values at every probe point, then the outputs."""

    outputs: tuple[str, ...]
    """Names of the final outputs."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all probe points, then of the outputs, in the order of `forward`."""
        raise NotImplementedError

    @property
    def engine_outputs(self) -> tuple[str, ...]:
        """Names of the engines' outputs."""
        return self.outputs

    def margins(self, values: Mapping[str, Tensor], *others: Tensor) -> dict[str, Tensor]:
        """Return the margins of choices among the outputs; empty if there are none."""
        return {}
