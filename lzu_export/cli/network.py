"""Networks of users' own on the command line: `MODULE:FUNCTION` in place of a recipe."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import LzuError, kind_and_reason

if TYPE_CHECKING:
    from lzu_export.compiler.inputs import Inputs
    from lzu_export.recipes import Recipe

IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_import_path(text: str) -> bool:
    """Return whether a text is `MODULE:FUNCTION`."""
    return IMPORT_PATH.fullmatch(text) is not None and not Path(text).exists()


def find_function(text: str) -> Callable[..., Any]:
    """Import the function that builds a network, from the environment or the current folder.

    Args:
        text: `MODULE:FUNCTION`. The function takes the recipe or nothing.

    Raises:
        LzuError: the module does not import, or has no such function.
    """
    module, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # at the end, so that no file here hides an installed package
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a module of a user may raise anything
        raise LzuError(
            f"module {module} of {text} does not import ({kind_and_reason(error)}); give "
            "one of this environment or of the current folder"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise LzuError(f"module {module} has no {name}; name the function that builds it")
        found = getattr(found, part)
    if not callable(found):
        raise LzuError(f"{text} is {type(found).__name__}, which cannot be called; name a function")
    function: Callable[..., Any] = found
    return function


def builder_of(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a function from a recipe to the network, for functions that take one or nothing."""
    parameters = inspect.signature(function).parameters.values()
    needed = [each for each in parameters if each.default is each.empty]
    takes = [each for each in needed if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if takes:
        return function

    def build(_recipe: Any) -> Any:
        return function()

    build.__wrapped__ = function  # type: ignore[attr-defined]
    return build


def with_network(recipe: "Recipe", text: str, inputs: "Inputs") -> "Recipe":
    """Return the recipe of a network that a function builds, ready to be exported.

    A network for the task `generic` is wrapped as the recipe says, if the function has not done so,
    and the places of its cells are measured. Where the recipe has no checkpoint, the weights that
    the network is built with are stored as one.

    Args:
        recipe: recipe with everything but the network.
        text: `MODULE:FUNCTION`.
        inputs: receiver of the files of weights and knots.

    Raises:
        LzuError: the function cannot be found, the network cannot be wrapped, or a key is wrong.
    """
    from lzu_export.recipes.generic import GenericRecipe
    from lzu_export.tasks.custom import register_model

    builder = builder_of(find_function(text))
    register_model(text, builder)
    recipe = recipe.model_copy(update={"custom_model": text})
    if not isinstance(recipe, GenericRecipe):
        return recipe
    from lzu_export.compiler.wrapped import measured_recipe

    return measured_recipe(recipe, inputs)
