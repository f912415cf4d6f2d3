"""Users' own networks instead of a task's: found by name, never by code that a file names.

A recipe, and with it a bundle's manifest, only holds the name. What builds the network is
registered by the program that exports, or announced by an installed package under the entry point
`GROUP`.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe

if TYPE_CHECKING:
    from lzu_export.models.zoom import LevelModel

GROUP = "lzu_export.models"
"""Entry points of packages that bring networks."""

Builder = Callable[[Any], "LevelModel"]
"""Takes the recipe, gives a torch module with `extract` and `head`, in any mode, of any weights."""

_registered: dict[str, Builder] = {}


def register_model(name: str, build: Builder) -> None:
    """Let recipes say `custom_model: name`.

    The network replaces the task's own; its zoom, unzoom, decode and metric stay. `extract` takes
    the normalised network input, B x 3 x H x W, to one feature map a level, finest first, of the
    strides that the recipe's `model` says. `head` takes those to the raw outputs that the task's
    decode expects, see the `decode` in `parts` of `tasks.det`, `tasks.seg` and `tasks.det3d`.

    Args:
        name: for the recipe; a later registration of the same name replaces it.
        build: makes the network of a recipe.
    """
    _registered[name] = build


def find_builder(name: str) -> Builder:
    """What builds the network of a name.

    Raises:
        LzuError: nothing of that name is registered or installed, or the package that has it does
            not import.
    """
    if name in _registered:
        return _registered[name]
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in found:
        try:
            builder: Builder = found[name].load()
        except (ImportError, AttributeError) as error:
            raise LzuError(
                f"custom_model {name} is announced by an installed package but {found[name].value} "
                f"does not load ({error}); install that package again, or fix its entry point"
            ) from error
        return builder
    known = ", ".join(sorted({*_registered, *found})) or "none"
    raise LzuError(
        f"custom_model {name} is not known here, {known} is; "
        "call lzu_export.tasks.custom.register_model before, or install the package that has it"
    )


def builder_digest(recipe: Recipe) -> str | None:
    """Hash of the file that builds the recipe's own network, so that a change of it is seen.

    Raises:
        LzuError: what builds it was not read from a file.
    """
    if recipe.custom_model is None:
        return None
    builder: Any = find_builder(recipe.custom_model)
    while isinstance(builder, partial):
        builder = builder.func
    if not (inspect.isroutine(builder) or inspect.isclass(builder)):
        builder = type(builder)  # an object that is called: its class has the source
    try:
        source = Path(inspect.getsourcefile(builder) or "").read_bytes()
    except (OSError, TypeError) as error:  # of a notebook, of `python -c`, or compiled
        raise LzuError(
            f"the source of what builds custom_model {recipe.custom_model} is in no file, so that "
            "a change of it would not be seen; put it into a Python file and import it from there"
        ) from error
    return hashlib.sha256(source).hexdigest()
