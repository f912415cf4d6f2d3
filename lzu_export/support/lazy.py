"""Import names of a module on first use."""

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
        module: `__name__` of the module.
        places: module that defines each name.
        former: current name by former name; use of a former name gives a DeprecationWarning.
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
        setattr(sys.modules[module], name, found)  # so that the next access finds it
        return found

    return get
