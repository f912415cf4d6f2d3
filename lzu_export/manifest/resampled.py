"""A metric on resampled sets, from which any two models' difference gets its interval."""

from typing import Literal

from lzu_export.manifest.fields import Number
from lzu_export.support.section import Section


class Resampled(Section):
    """One engine's metric on sets of sequences or images that are drawn with replacement.

    The drawn sets depend on the number of groups alone, so engines that were scored on the same
    frames at different times are compared set by set.
    """

    unit: Literal["sequences", "images"]
    """What is drawn: whole sequences, or single images where there are few sequences."""
    groups: int
    """Number of sequences or images."""
    values: tuple[Number, ...]
    """The metric in points on each drawn set, to three decimals."""
