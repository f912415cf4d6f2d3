"""Load OpenMMLab checkpoints (mmdet 2.x and 3.x) into models, without running their content."""

import io
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.archive import Archive, meta_of
from lzu_export.models.inert_pickle import Foreign, OddTensor, StoredTensor

log = logging.getLogger(__name__)

State = dict[str, Tensor]

WARP = "warp."
"""Prefix of the names of a warp's parameters: logits, amplitude, bandwidth."""
NETWORK = "warp.network."
"""Prefix of the names of a saliency network's tensors."""
LISTED = 3
"""Number of names that an error message lists before it only counts the rest."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file that an export needs."""

    state: State
    """Tensors on the CPU by the names of OpenMMLab's modules, floating-point ones as float32."""
    meta: Mapping[str, Any]
    """Record beside the weights under `meta`, as plain data."""


def load_state(path: str | os.PathLike[str]) -> State:
    """Read only the weights in a checkpoint file, see `load_checkpoint`."""
    return load_checkpoint(path).state


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the weights in a checkpoint file, and the record beside them.

    PyTorch's files and safetensors are accepted, with a bare state dict or one under `state_dict`,
    `model_state_dict`, `model` and the like. `state_dict` is preferred to mmengine's
    `ema_state_dict`, which is taken only if there is no other. Both generations of OpenMMLab's EMA
    hook swap the averaged weights into `state_dict` when they save, so the last iterate is left
    under `ema_state_dict`. In mmdet 2.x it is left in `state_dict`, under names with the prefix
    `ema_` and underscores for dots; these twins are dropped. Parts of names that wrappers add are
    removed: `module.`, `_orig_mod.`, and `model.` if all names begin with it.

    The file is read as data: nothing that it names is imported or called, see `inert_pickle`.

    Raises:
        LzuError: the file is missing, damaged or no checkpoint, holds no weights, or holds weights
            that are quantised, sparse or otherwise no plain numbers.
    """
    with Archive(Path(path)) as archive:
        named = _plain_names(_find_state(archive.content, str(path)), str(path))
        twins = {_ema_name(name) for name in named}
        state = {
            name: torch.from_numpy(archive.values(_plain(value, name, str(path)), name))
            for name, value in named.items()
            if name not in twins
        }
        return Checkpoint(state, meta_of(archive))


CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "weights",
    "params",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
)
"""Keys that a state dict may be stored under, in order of preference."""
AVERAGED = ("state_dict_ema", "model_ema", "ema")
"""Keys of averaged weights whose trainers store the last iterate under the other keys."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch inserts into names of modules that it compiles or wraps."""
STUDENTS = ("teacher", "student")
"""Prefixes of two networks in one checkpoint."""


def _find_state(content: Any, path: str, depth: int = 3) -> Mapping[Any, Any]:
    """Find the state dict in nested content."""
    where = "a state dict, bare or under the key state_dict"
    if isinstance(content, Foreign):
        raise LzuError(
            f"checkpoint {path} holds an object of {content.name}, whose class would have to be "
            "imported, not its weights; save those where it was made: "
            'torch.save({"state_dict": model.state_dict()}, NEW)'
        )
    if not isinstance(content, Mapping):
        raise LzuError(
            f"checkpoint {path} holds a {type(content).__name__}; give one that holds {where}"
        )
    if depth:
        for key in CONTAINERS:
            inner = content.get(key)
            if isinstance(inner, Mapping) or (isinstance(inner, Foreign) and key != "module"):
                _warn_of_averages(content, key, path)
                return _find_state(inner, path, depth - 1)
    weights = {name: value for name, value in content.items() if name != "steps"}
    others = [str(name) for name, value in weights.items() if not _is_tensor(value)]
    if others or not weights:
        what = f"entries that are no tensors ({_some(others)})" if others else "no tensors"
        raise LzuError(f"checkpoint {path} holds {what}; give one that holds {where}")
    return weights


def _warn_of_averages(content: Mapping[Any, Any], taken: str, path: str) -> None:
    averaged = [key for key in AVERAGED if key in content and key != taken]
    if taken not in AVERAGED and averaged and isinstance(content[averaged[0]], Mapping):
        log.warning(
            "checkpoint %s holds averaged weights, too, under %s; those under %s are used",
            path,
            averaged[0],
            taken,
        )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (StoredTensor, OddTensor))


def _plain(value: Any, name: str, path: str) -> StoredTensor:
    if isinstance(value, StoredTensor):
        return value
    raise LzuError(
        f"checkpoint {path} holds {name} as a tensor that is {value.kind}; save plain float "
        "weights where it was made (tensor.dequantize() or tensor.to_dense())"
    )


def _plain_names(state: Mapping[Any, Any], path: str) -> dict[str, Any]:
    """Rename tensors to the names of the network itself, without the parts added by wrappers."""
    named: dict[str, Any] = {}
    for key, value in state.items():
        parts = [part for part in str(key).split(".") if part not in WRAPPERS]
        while len(parts) > 1 and parts[0] == "module":
            del parts[0]
        name = ".".join(parts)
        if name in named:
            raise LzuError(
                f"checkpoint {path} holds {name} twice, with and without a wrapper's prefix; "
                "re-save one network's weights alone"
            )
        named[name] = value
    while named and all(name.startswith("model.") or _of_warp(name) for name in named):
        if not any(name.startswith("model.") for name in named):
            break
        named = {name.removeprefix("model."): value for name, value in named.items()}
    several = [each for each in STUDENTS if any(name.startswith(f"{each}.") for name in named)]
    if len(several) > 1:
        raise LzuError(
            f"checkpoint {path} holds two networks, {' and '.join(several)}; re-save the weights "
            "of one, without the prefix"
        )
    return named


def _of_warp(name: str) -> bool:
    return name.startswith(WARP)


def load_into(
    model: nn.Module, state: Mapping[str, Tensor], *, name: str, fields: str = "model"
) -> None:
    """Copy weights into the model; every tensor must be present and have the right shape.

    Only `num_batches_tracked` may be absent, since inference does not use it. A state with only
    mmdet 2.x's `ema_` names is accepted.

    Args:
        model: model that receives the weights.
        state: tensors by name, from `load_state`.
        name: name of the state in error messages, such as the file's name.
        fields: section of the recipe that defines the model's architecture.

    Raises:
        LzuError: tensors are missing, unexpected or of another shape, which the message lists; or a
            tensor's values are no weights: integers, NaN, infinite, negative variances.
    """
    expected = model.state_dict()
    if all(key.startswith("model.") for key in expected):  # `load_checkpoint` removed it
        state = {key if key in expected else f"model.{key}": value for key, value in state.items()}
    plain = {_ema_name(key): key for key in expected}
    found = {
        key if plain.get(key, key) in state else plain[key]: value for key, value in state.items()
    }
    missing = [k for k in expected if k not in found and not k.endswith(".num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    wrong = [k for k in expected if k in found and found[k].shape != expected[k].shape]
    if not missing and not unexpected and not wrong:
        _check_values(expected, found, name)
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
    """Write {meta, state_dict} by one rename, so that readers see the old file or the new one.

    Equal contents give equal bytes, under any file name.

    Args:
        path: file to write; its folder must exist.
        state: tensors by name.
        half: store floating-point tensors of two or more dimensions as float16. Biases and
            normalisation stay float32, since they are few and their ranges vary widely. A warp's
            parameters also stay float32, since rounding them would shift the whole sampling grid.
        meta: record to store beside the weights.

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
    # Saved to memory first, because torch writes a file's name into the archive.
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


def _check_values(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors whose values are no weights, naming the tensor."""
    for key, value in found.items():
        if not expected[key].is_floating_point():
            continue
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise LzuError(
                f"checkpoint {name} holds {key} as {kind}, but weights are floating-point; save it "
                "as "
                "float32 or float16 where it was made, dequantised if it was quantised"
            )
        check_finite(value, key, name)
        if key.endswith(".running_var") and bool((value < 0).any()):
            raise LzuError(
                f"checkpoint {name} holds negative variances in {key}; the file is damaged or was "
                "put together wrongly: take another"
            )


def check_finite(value: Tensor, key: str, name: str) -> None:
    """Refuse a tensor with NaN or infinite values.

    Raises:
        LzuError: there are such values; the message has the tensor's name and their number.
    """
    bad = ~torch.isfinite(value)
    if not bool(bad.any()):
        return
    what = "NaN" if bool(value.isnan().any()) else "infinite values"
    raise LzuError(
        f"checkpoint {name} holds {what} in {key} ({int(bad.sum())} of {value.numel()} values); "
        "the training diverged or the file is damaged: take an earlier checkpoint"
    )


def _ema_name(name: str) -> str:
    """Name of the buffer in which mmdet 2.x's EMA hook keeps a parameter's twin."""
    return "ema_" + name.replace(".", "_")


def _check_class_count(
    model: nn.Module, found: Mapping[str, Tensor], wrong: Iterable[str], name: str
) -> None:
    """Refuse a state that differs from the model only in its number of classes, naming both."""
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
