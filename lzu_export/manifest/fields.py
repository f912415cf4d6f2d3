"""Kinds of fields that the manifest's sections are made of."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[float, PlainSerializer(_json_number, when_used="json")]
"""JSON has no nan (the AP of a size without objects) and no inf (the deviation of a NaN): they are
written as strings, which read back as numbers."""
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}$")]
"""A file in the bundle's folder: a plain name, so that no manifest leads out of it."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""


class Section(BaseModel):
    """A part of the manifest: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
