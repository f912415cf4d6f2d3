"""Names of a module that are imported when they are first asked for."""

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    module: str, places: Mapping[str, str], former: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Make a module's `__getattr__`.

    Args:
        module: its `__name__`.
        places: by name, the module that defines it.
        former: today's name by former name, whose use gives a DeprecationWarning.
    """
    former = former or {}

    def get(name: str) -> Any:
        if name in former:
            told = f"{module}.{name} is {module}.{former[name]} now; use that"
            warnings.warn(told, DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[module], former[name])
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = getattr(import_module(places[name]), name)
        setattr(sys.modules[module], name, found)  # the next time it is there
        return found

    return get
