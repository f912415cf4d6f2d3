"""OpenMMLab checkpoints (mmdet 2.x and 3.x) into models, without ever running what a file holds."""

import io
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError

State = dict[str, Tensor]

WARP = "warp."
"""What names of a warp's parameters begin with: logits, amplitude, bandwidth."""
NETWORK = "warp.network."
"""What names of a saliency network's tensors begin with."""
LISTED = 3
"""Names spelled out in an error before the rest is only counted."""


def load_state(path: str | os.PathLike[str]) -> State:
    """The weights in a checkpoint file alone, see `load_checkpoint`."""
    return load_checkpoint(path)[0]


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[State, dict[str, str]]:
    """The weights in a checkpoint file, by the names of OpenMMLab's modules, and their notes.

    Accepted are a bare state dict, one under `state_dict` and, where that is absent, mmengine's
    `ema_state_dict`. Both generations of OpenMMLab's EMA hook swap the averaged weights into
    `state_dict` when they save (what stays under `ema_state_dict`, or in mmdet 2.x under names
    with the prefix `ema_` and underscores for dots, is the last iterate), so `state_dict` is
    preferred and its `ema_` twins are dropped.

    Returns:
        Tensors on the CPU by name, without the prefix `module.`; floating point as float32. Then
        the texts under `meta`: what `save_checkpoint` was told to remember, if it made the file.

    Raises:
        LzuError: the file is missing, damaged, holds anything but data, or holds no weights.
    """
    content = _read(Path(path))
    state: Any = content
    if isinstance(content, Mapping):
        for key in ("state_dict", "ema_state_dict"):
            if isinstance(content.get(key), Mapping):
                state = content[key]
                break
    if not isinstance(state, Mapping):
        raise LzuError(
            f"checkpoint {path} holds a {type(state).__name__}; give one that holds a state dict, "
            "bare or under the key state_dict"
        )
    named = {
        str(name).removeprefix("module."): value
        for name, value in state.items()
        if name != "steps"  # a counter of mmengine's averaged models
    }
    others = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if others or not named:
        what = f"entries that are no tensors ({_some(others)})" if others else "no tensors"
        raise LzuError(
            f"checkpoint {path} holds {what}; give one that holds a state dict, bare or under the "
            "key state_dict"
        )
    twins = {_ema_name(name) for name in named}
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in named.items()
        if name not in twins
    }
    return weights, _texts(content.get("meta"))


def _texts(meta: Any) -> dict[str, str]:
    if not isinstance(meta, Mapping):
        return {}
    return {str(key): value for key, value in meta.items() if isinstance(value, str)}


def load_into(
    model: nn.Module, state: Mapping[str, Tensor], *, name: str, fields: str = "model"
) -> None:
    """Copy weights into the model; every tensor must be there, and of the right shape.

    Only `num_batches_tracked` may be absent: no inference uses it. A state with nothing but
    mmdet 2.x's `ema_` names is understood.

    Args:
        model: receives the weights.
        state: tensors by name, from `load_state`.
        name: what errors call the state, such as the file's name.
        fields: the recipe's section that tells the model's architecture.

    Raises:
        LzuError: one sentence that lists what is missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    plain = {_ema_name(key): key for key in expected}
    found = {
        key if plain.get(key, key) in state else plain[key]: value for key, value in state.items()
    }
    missing = [k for k in expected if k not in found and not k.endswith(".num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    wrong = [k for k in expected if k in found and found[k].shape != expected[k].shape]
    if not missing and not unexpected and not wrong:
        model.load_state_dict({**expected, **found})
        return
    if not missing and not unexpected:
        _check_class_count(model, found, wrong, name)
    shapes = [f"{k} {tuple(found[k].shape)} instead of {tuple(expected[k].shape)}" for k in wrong]
    problems = [
        f"{len(names)} {kind} ({_some(names)})"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    raise LzuError(
        f"checkpoint {name} does not fit the {fields}, with tensors {', '.join(problems)}; set the "
        f"recipe's {fields} fields (such as depth and channels) to those it was trained with"
    )


def save_checkpoint(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    *,
    half: bool = True,
    meta: Mapping[str, str] | None = None,
) -> None:
    """Write {meta, state_dict} in one step: readers see the old file or the new one, never a part.

    Equal contents give equal bytes, under any file name.

    Args:
        path: file to write; its folder must exist.
        state: tensors by name.
        half: store floating point tensors of two or more dimensions as float16. Biases and
            normalisation stay float32: they are few and their ranges vary widely. So do a warp's
            parameters: their rounding would move every place that the network sees.
        meta: what to remember about the weights.

    Raises:
        LzuError: a weight is too large for float16, or the file cannot be written.
    """
    stored: State = {}
    for name, value in state.items():
        tensor = value.detach().to("cpu", copy=True).contiguous()
        of_warp = name.startswith(WARP) and not name.startswith(NETWORK)
        if half and tensor.is_floating_point() and tensor.ndim >= 2 and not of_warp:
            narrow = tensor.half()
            if bool((narrow.isinf() & tensor.isfinite()).any()):
                raise LzuError(f"weights {name} exceed the range of float16; save with half=False")
            tensor = narrow
        stored[name] = tensor
    # Through memory because torch writes a file's name into the archive.
    buffer = io.BytesIO()
    torch.save({"meta": dict(meta or {}), "state_dict": stored}, buffer)
    target = Path(path)
    try:
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(buffer.getbuffer())
            Path(part).chmod(0o644)  # mkstemp's mode is private
            Path(part).replace(target)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LzuError(
            f"checkpoint {path} cannot be written ({error.strerror}); choose a writable folder"
        ) from error


def _read(path: Path) -> Any:
    if not path.is_file():
        raise LzuError(f"checkpoint {path} is not a file; give the path of an existing .pth file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise LzuError(
            f"checkpoint {path} cannot be read ({error.strerror}); make it readable"
        ) from error
    with (
        file,
        torch.serialization.safe_globals(_harmless_globals()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # what is said about pickles that are refused anyway
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises anything, an OSError of a seek included
            raise LzuError(_why_unread(path, error)) from error


def _why_unread(path: Path, error: Exception) -> str:
    if "TorchScript" in str(error):
        return f"checkpoint {path} is a TorchScript archive; give the state dict it was made from"
    culprit = re.search(r"GLOBAL ([\w.]+\w)|got <class '([\w.]+)'>", str(error))
    if isinstance(error, pickle.UnpicklingError) and (culprit or zipfile.is_zipfile(path)):
        what = culprit[1] or culprit[2] if culprit else "other objects"
        return (
            f"checkpoint {path} was refused because it holds {what}, not only weights, and loading "
            "that could run code; if you trust its origin, re-save the weights alone where it was "
            'made: torch.save({"state_dict": torch.load(OLD, weights_only=False)["state_dict"]}, '
            "NEW)"
        )
    return (
        f"checkpoint {path} is truncated or not a PyTorch checkpoint; copy or download it again "
        "and compare its size with the original's"
    )


def _harmless_globals() -> list[Any]:
    """What NumPy numbers and plain arrays, which OpenMMLab puts into `meta`, are rebuilt with.

    Of the data types only plain numbers and text: with structured or object types a crafted
    file would have more say over memory.
    """
    multiarray = np.zeros(1).__reduce__()[0].__module__  # numpy.core or, from 2.0, numpy._core
    module = __import__(multiarray, fromlist=["scalar", "_reconstruct"])
    functions = [module.scalar, module._reconstruct]
    renamed = [
        (function, f"numpy.{package}.multiarray.{function.__name__}")
        for function in functions
        for package in ("core", "_core")
    ]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"}
    return [*renamed, np.ndarray, np.dtype, *sorted(kinds, key=lambda kind: kind.__name__)]


def _ema_name(name: str) -> str:
    """The buffer in which mmdet 2.x's EMA hook keeps a parameter's twin."""
    return "ema_" + name.replace(".", "_")


def _check_class_count(
    model: nn.Module, found: Mapping[str, Tensor], wrong: Iterable[str], name: str
) -> None:
    """Refuse a state that differs from the model only in the number of classes, in those words."""
    wrong = set(wrong)
    for path, module in model.named_modules():
        layer = getattr(module, "class_layer", None)
        if layer is None:
            continue
        prefix = f"{path}.{layer}." if path else f"{layer}."
        if not all(key.startswith(prefix) for key in wrong):
            continue
        classes = int(module.num_classes)
        channels = len(model.state_dict()[f"{prefix}bias"])
        count, rest = divmod(classes * len(found[f"{prefix}bias"]), channels)
        if rest == 0 and count != classes:
            raise LzuError(
                f"checkpoint {name} has {count} classes, recipe has {classes}; list the classes it "
                "was trained with, in the same order"
            )


def _some(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
