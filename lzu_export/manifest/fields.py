"""Field types of the manifest's sections."""

import math
from typing import Annotated

from pydantic import PlainSerializer, StringConstraints


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[float, PlainSerializer(_json_number, when_used="json")]
"""Number that may be nan (the AP of a size without objects) or inf (the deviation of a NaN). JSON
has neither: they are written as strings, which read back as numbers."""
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,200}$")]
"""Plain name of a file in the bundle's folder, so that no manifest leads out of the folder."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""
