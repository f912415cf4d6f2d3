"""Base class of everything that is stored as JSON, such as a manifest or a measurement."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Immutable part of a JSON file, which refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
