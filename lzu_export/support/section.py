"""Base class of everything that is stored as JSON, such as a manifest or a measurement."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from lzu_export.support.former_keys import with_todays_keys


class Section(BaseModel):
    """Immutable part of a JSON file, which refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    former_keys: ClassVar[dict[str, str]] = {}
    """Current key by a key that an earlier release wrote and that is still read."""

    @model_validator(mode="before")
    @classmethod
    def _todays_keys(cls, data: Any) -> Any:
        return with_todays_keys(data, cls.former_keys)
