"""Find, read and validate recipes."""

import copy
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lzu_export.errors import LzuError
from lzu_export.recipes.former_keys import todays_key, todays_recipe
from lzu_export.recipes.postprocessing import KINDS
from lzu_export.recipes.schema import Recipe, Window, recipe_class
from lzu_export.recipes.tasks import TASKS
from lzu_export.support.demonstration import demonstration_file
from lzu_export.support.files.yaml_text import read_keys

FOLDER = Path(__file__).parent
TAGGED: dict[str, type[BaseModel]] = {
    "[window]": Window,
    **{f"[{kind}]": section for kind, section in KINDS.items()},
}
"""Section of a value that has several forms, by its tag."""
MARKS = ("[key]", "[size]", *TAGGED)
OF_ANOTHER_MODEL = frozenset({"checkpoint", "model", "custom_model", "random_weights"})
"""Keys whose override means that other weights than the recipe's own are exported."""
DEMONSTRATION = "demo:"
"""Beginning of the path of a demonstration model's file, wherever these files are installed."""
LONGEST_VALUE = 40
"""Largest number of characters of a refused value that are shown."""
WORDING = {
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "path_type": "a path",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "string_type": "text",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
"""Plainer words for pydantic's messages, by its type of error."""


def default_recipe(task: str) -> str | Path:
    """Return the recipe that a task's name stands for: a shipped recipe's name, or a path.

    Raises:
        LzuError: there is no such task.
    """
    return TASKS.find(task).default_recipe


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by task, shipped name or path, and override its (dotted) keys.

    Paths inside the file are relative to it, or to the demonstration models' folder where they
    begin with `demo:`; they are returned as absolute paths.

    Args:
        name: task, name of a shipped recipe, or path of a YAML file.
        overrides: values by dotted key, such as `{"scale": 0.25}`, in place of the file's.

    Raises:
        LzuError: there is no such recipe, it is no YAML, a key is unknown (the nearest known one is
            named) or a value is bad. The message names the file and the key.
    """
    data, path = read_recipe(name)
    return overridden(data, path, overrides or {})


def read_recipe(name: str) -> tuple[dict[str, Any], Path]:
    """Read a recipe's plain data, which is not validated yet, with absolute paths.

    Args:
        name: task, name of a shipped recipe, or path of a YAML file.

    Returns:
        The data with today's keys, and the path of the file.

    Raises:
        LzuError: there is no such recipe, or it is no YAML.
    """
    path = _find(name)
    data = read_keys(path, "recipe", f"start from one of {', '.join(list_recipes())}")
    try:
        data = todays_recipe(data)
    except ValueError as error:
        raise LzuError(f"recipe {path}: {error}") from error
    absolute_paths(data, path.parent)
    return data, path


def overridden(data: Mapping[str, Any], path: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe of plain data with other values of some (dotted) keys.

    Args:
        data: what `read_recipe` returned; it is not changed.
        path: path of the file, for messages.
        overrides: values by dotted key.

    Raises:
        LzuError: a key is unknown or a value is bad, see `load_recipe`.
    """
    mine = copy.deepcopy(dict(data))
    evaluation = mine.get("evaluation")
    dataset = evaluation.get("dataset") if isinstance(evaluation, dict) else None
    for key, value in overrides.items():
        override(mine, key, value)
    _drop_foreign_reference(mine, dataset, overrides)
    _drop_foreign_frames(mine, dataset, overrides)
    return validate(mine, str(path))


def _drop_foreign_reference(
    data: dict[str, Any], dataset: Any, overrides: Mapping[str, Any]
) -> None:
    """Drop the recipe's reference score if overrides set other weights or another data set."""
    evaluation = data.get("evaluation")
    if not isinstance(evaluation, dict) or "evaluation.reference" in overrides:
        return
    given = {key.partition(".")[0] for key in overrides}
    if OF_ANOTHER_MODEL & given or evaluation.get("dataset") != dataset:
        evaluation.pop("reference", None)


def _drop_foreign_frames(data: dict[str, Any], dataset: Any, overrides: Mapping[str, Any]) -> None:
    """Drop the recipe's own number of frames to export with if overrides choose other frames."""
    evaluation = data.get("evaluation")
    if not isinstance(evaluation, dict) or "evaluation.export_frames" in overrides:
        return
    if "evaluation.frames" in overrides or evaluation.get("dataset") != dataset:
        evaluation.pop("export_frames", None)


def validate(data: Mapping[str, Any], where: str) -> Recipe:
    """Turn plain data into a recipe.

    Raises:
        LzuError: the data is no valid recipe; the message names the first fault.
    """
    try:
        of_task = recipe_class(data)
    except ValueError as error:
        raise LzuError(f"recipe {where}: {error}") from error
    try:
        return of_task.model_validate(data)
    except ValidationError as error:
        raise LzuError(f"recipe {where}: {first_problem(error, of_task)}") from error


def portable(recipe: Recipe) -> Recipe:
    """Return the recipe without this machine's paths, with file names only."""
    checkpoint = {variant: Path(path.name) for variant, path in recipe.checkpoint.items()}
    files = {
        key: Path(path.name) if (path := getattr(recipe.warp, key)) else None
        for key in ("saliency", "knots")
    }
    dataset = recipe.evaluation.dataset
    evaluation = recipe.evaluation.model_copy(
        update={"dataset": Path(dataset).name if dataset else None}
    )
    warp = recipe.warp.model_copy(update=files)
    frames, cache = recipe.calibration.frames, recipe.calibration.cache
    calibration = recipe.calibration.model_copy(
        update={
            "frames": Path(frames).name if frames else None,
            "cache": Path(cache.name) if cache else None,
        }
    )
    return recipe.model_copy(
        update={
            "checkpoint": checkpoint,
            "warp": warp,
            "evaluation": evaluation,
            "calibration": calibration,
        }
    )


def _find(name: str) -> Path:
    wanted = default_recipe(name) if name in TASKS else name
    shipped = wanted if isinstance(wanted, Path) else FOLDER / f"{wanted}.yaml"
    if shipped.is_file():
        return shipped
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or os.sep in name:
        if path.is_file():
            return path.resolve()
        raise LzuError(f"recipe file {path} does not exist; give a path that does")
    known = list_recipes()
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the shipped ones are {', '.join(known)}"
    raise LzuError(f"there is no recipe named {name}; {hint}")


def absolute_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the paths in a recipe's plain data absolute, in place, as `load_recipe` does.

    Args:
        data: a recipe's plain data, or part of it.
        folder: folder that its paths are relative to.
    """

    def absolute(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.startswith(DEMONSTRATION):
            return str(demonstration_file(value.removeprefix(DEMONSTRATION)))
        return os.path.normpath(folder / value)

    for key in ("saliency", "knots"):
        if isinstance(warp := data.get("warp"), dict) and warp.get(key):
            warp[key] = absolute(warp[key])
    if isinstance(checkpoint := data.get("checkpoint"), dict):
        data["checkpoint"] = {key: absolute(value) for key, value in checkpoint.items()}
    if isinstance(evaluation := data.get("evaluation"), dict):
        dataset = evaluation.get("dataset")
        if isinstance(dataset, str) and _is_path(dataset):  # else it names a data set
            evaluation["dataset"] = absolute(dataset)
    if isinstance(calibration := data.get("calibration"), dict):
        if calibration.get("cache"):
            calibration["cache"] = absolute(calibration["cache"])
        frames = calibration.get("frames")
        if isinstance(frames, str) and _is_path(frames):
            calibration["frames"] = absolute(frames)


def _is_path(dataset: str) -> bool:
    return dataset.endswith(".json") or os.sep in dataset


def override(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key of a recipe's plain data, in place.

    Raises:
        LzuError: a parent of the key is no section.
    """
    *parents, leaf = todays_key(dotted).split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise LzuError(f"recipe key {dotted} cannot be set: {parent} is not a section")
    data[leaf] = value


def first_problem(error: ValidationError, of: type[BaseModel]) -> str:
    """Return the first fault of a file in a sentence's words; an unknown key's nearest is named.

    Args:
        error: error of pydantic.
        of: class of the file's content.
    """
    problem = error.errors()[0]
    # Pydantic marks a faulty key of a dictionary with a last part, and the form of a value that has
    # several forms with its tag. Both are left out.
    location = ".".join(str(part) for part in problem["loc"] if part not in MARKS)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(of, tuple(problem["loc"][:-1]))
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else f"known keys are {', '.join(known)}"
        return f"unknown key {location}; {hint}"
    if problem["type"] == "missing":
        return f"the key {location} is missing; add it"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # this package's message, which names the key
        return message
    given = repr(problem["input"])
    if len(given) > LONGEST_VALUE:
        given = f"{given[:LONGEST_VALUE]}..."
    wanted = WORDING.get(problem["type"], message.removeprefix("Input should be "))
    wanted = wanted.format(**problem.get("ctx", {})).removeprefix("a valid ")
    return f"{location} is {given} but must be {wanted}; change it"


def _known_keys(of: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    model: Any = of
    for part in location:
        if part in TAGGED:
            return sorted(TAGGED[part].model_fields)
    for part in location:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        model = field.annotation if field is not None else None
        # An optional section is a union with None.
        model = next((each for each in get_args(model) if each is not type(None)), model)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return sorted(of.model_fields)
    return sorted(model.model_fields)
