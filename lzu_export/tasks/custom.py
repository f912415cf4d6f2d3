"""Find users' own networks, which replace a task's, by name, never by code that a file names.

A recipe, and so a bundle's manifest, only has the name. The exporting program registers the
function that builds the network, or an installed package announces it under the entry point
`GROUP`.
"""

import hashlib
import inspect
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.support.entry_points import entry_points

if TYPE_CHECKING:
    from lzu_export.models.zoom import LevelModel

GROUP = "lzu_export.models"
"""Group of entry points by which packages announce networks."""

Builder = Callable[[Any], "LevelModel"]
"""Function from a recipe to a torch module with `extract` and `head`, in any mode, with any
weights."""

PLAIN = (bool, int, float, str, tuple, list, dict, type(None))
"""Types of a module's attributes that may be settings."""
PASSING = re.compile(r"^(_|training)|tensor\(| at 0x")
"""Pattern in an attribute's name and value that is no setting."""

_registered: dict[str, Builder] = {}


class BuiltNetwork:
    """Builder of a network that the program has already built: it returns copies."""

    def __init__(self, network: Any) -> None:
        """Take the network, a torch module."""
        self._network = network

    def __call__(self, recipe: Any) -> Any:
        """Return a copy of the network."""
        return deepcopy(self._network)

    def digest(self) -> str:
        """Hash the network's structure and what is not in its weights, and its classes' files."""
        content = hashlib.sha256(str(self._network).encode())
        stored = self._network.state_dict()
        for name, buffer in self._network.named_buffers():
            if name not in stored:
                content.update(f"{name} {buffer.dtype} {buffer.tolist()}".encode())
        for name, module in self._network.named_modules():
            own = {key: repr(each) for key, each in vars(module).items() if isinstance(each, PLAIN)}
            # What a forward pass keeps, or has another address each time, is no setting.
            own = {key: text for key, text in own.items() if not PASSING.search(key + text)}
            content.update(f"{name} {sorted(own.items())}".encode())
        for each in sorted({str(_source(type(m))) for m in self._network.modules()}):
            content.update(Path(each).read_bytes() if Path(each).is_file() else each.encode())
        return content.hexdigest()


def _source(kind: type) -> str | None:
    """Return the file that defines a class; None for a class that is defined in no file."""
    try:
        return inspect.getsourcefile(kind)
    except (OSError, TypeError):
        return None


def register_model(name: str, build: Builder) -> None:
    """Make a network available to recipes as `custom_model: name`.

    The network replaces the task's own; its zoom, unzoom, decode and metric stay. `extract` maps
    the normalised network input, B x 3 x H x W, to one feature map per level, finest first, with
    the strides in the recipe's `model`. `head` maps these to the raw outputs that the task's decode
    expects, see the `decode` in `parts` of `tasks.det`, `tasks.seg` and `tasks.det3d`.

    Args:
        name: name in recipes; a later registration of the same name replaces it.
        build: function that makes the network for a recipe.
    """
    _registered[name] = build


def find_builder(name: str) -> Builder:
    """Return the function that builds the network of a name.

    Raises:
        LzuError: no network of that name is registered or installed, or the package that announces
            it does not import.
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


def is_registered(name: str) -> bool:
    """Return whether the running program registered this network, which no other program has."""
    return name in _registered


def named_network(recipe: Recipe) -> str:
    """Return the name of the network of a recipe whose task has none of its own.

    Raises:
        LzuError: the recipe names none.
    """
    if recipe.custom_model is None:
        raise LzuError(
            f"recipe {recipe.name} of task {recipe.task} names no network; export it by "
            "lzu-export export MODULE:FUNCTION --recipe FILE or lzu_export.export(model, ...), or "
            "set custom_model to a network that an installed package announces"
        )
    return recipe.custom_model


def builder_digest(recipe: Recipe) -> str | None:
    """Hash the file that builds the recipe's own network, so that a change of it is detected.

    Raises:
        LzuError: the function that builds it was not read from a file.
    """
    if recipe.custom_model is None:
        return None
    builder: Any = find_builder(recipe.custom_model)
    if isinstance(builder, BuiltNetwork):
        return builder.digest()
    builder = inspect.unwrap(builder)
    while isinstance(builder, partial):
        builder = builder.func
    if not (inspect.isroutine(builder) or inspect.isclass(builder)):
        builder = type(builder)  # a callable object, whose class has the source
    try:
        source = Path(inspect.getsourcefile(builder) or "").read_bytes()
    except (OSError, TypeError) as error:  # from a notebook or `python -c`, or compiled
        raise LzuError(
            f"the source of what builds custom_model {recipe.custom_model} is in no file, so that "
            "a change of it would not be seen; put it into a Python file and import it from there"
        ) from error
    return hashlib.sha256(source).hexdigest()
