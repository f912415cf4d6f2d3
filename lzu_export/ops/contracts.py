"""Writes `plugins/*/*_PluginConfig.yaml` from the contracts, and checks the C++ sources with them.

    python -m lzu_export.ops.contracts [--check] [PLUGINS]

PLUGINS is the plugins' folder, by default `plugins`. Exit status: 0 success, 1 the files or the
sources differ from the contracts (with `--check` no file is written), 2 wrong arguments.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from lzu_export.ops.base import Operator
from lzu_export.ops.contract import DOMAIN, VERSION, Tensor
from lzu_export.ops.registry import OPERATORS

PLUGIN_OPERATORS: Mapping[str, Operator] = {
    name: each for name, each in OPERATORS.items() if each.contract.has_plugin
}
"""Operators that have a plugin, by name."""

LIMITS = {
    ("SeparableUnzoom", "n"): "LZU_MOST_LEVELS",
    ("BoxKnots", "N"): "LZU_MOST_BOXES",
    ("BoxKnots", "lattice"): "LZU_MOST_LATTICE",
    ("SeparableUnzoom", "upscale"): "kMOST_UPSCALE",
    ("SeparableZoom", "canvas"): "kMOST_CANVAS",
    ("SeparableZoom", "pad"): "kMOST_CANVAS",
    ("InvertWarp", "size"): "kMOST_GRID",
}
"""Names of the C++ constants for the largest values of symbols and attributes."""

_TYPES = {"int32": "kINT32", "float32": "kFLOAT32"}


def config_path(operator: Operator) -> str:
    """Return the path of the contract's file within the plugins' folder."""
    return f"{operator.torch_name}/{operator.name}_PluginConfig.yaml"


def config_text(operator: Operator) -> str:
    """Return the contract of a plugin as YAML, for readers of the plugins' folder."""
    contract = operator.contract
    lines = [
        f"# Written by `make contracts`; edit lzu_export/ops/{operator.torch_name}.py instead.",
        f"name: {operator.name}",
        f"namespace: {DOMAIN}",
        f"version: {json.dumps(str(VERSION))}",
        "inputs:",
        *map(_tensor_line, contract.inputs),
        "outputs:",
        *map(_tensor_line, contract.outputs),
        "# Type and format of the features, in and out; all share one.",
        "combinations:",
        *(f"  - {each}" for each in contract.formats),
        "attributes:",
    ]
    for name, field in contract.fields.items():
        entry = {
            "type": field.type,
            "length": field.length,
            **{key: getattr(field, key) for key in ("least", "most", "above")},
            "default": field.default,
            "required": True if field.required else None,
        }
        lines.append(f"  {name}: {_mapping(entry)}")
    if contract.limits:
        lines += ["limits:", *(f"  {name}: {most}" for name, most in contract.limits.items())]
    return "\n".join(lines) + "\n"


def _tensor_line(tensor: Tensor) -> str:
    name = f"{tensor.name}_0 .. {tensor.name}_{{n-1}}" if tensor.repeats else tensor.name
    sides = ", ".join(map(_scalar, tensor.shape))
    kind = f", type: {tensor.type} linear" if tensor.type else ""
    return f"  - {{name: {_scalar(name)}, shape: [{sides}]{kind}}}"


def _mapping(entry: Mapping[str, object]) -> str:
    pairs = (f"{key}: {_scalar(value)}" for key, value in entry.items() if value is not None)
    return f"{{{', '.join(pairs)}}}"


def _scalar(value: object) -> str:
    """Format a YAML scalar; strings are quoted unless they are words."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w ]*", value):
        return value
    return json.dumps(value)


def source_differences(plugins: Path) -> Iterator[str]:
    """Yield one sentence for each difference of the C++ sources from the contracts.

    Args:
        plugins: folder of the plugins' sources.

    Raises:
        OSError: a source cannot be read.
    """
    common = (plugins / "common" / "plugin.h").read_text()
    limits = (plugins / "kernels" / "lzu_kernels.h").read_text()
    for name, wanted in (("kNAMESPACE", DOMAIN), ("kVERSION", str(VERSION))):
        yield from _different("common/plugin.h", name, _text_constant(common, name), wanted)
    number = _number_constant(limits, "LZU_PLUGINS_VERSION")
    yield from _different("kernels/lzu_kernels.h", "LZU_PLUGINS_VERSION", number, VERSION)
    for operator in PLUGIN_OPERATORS.values():
        folder = operator.torch_name
        stem = f"{folder}/{folder}_plugin"
        source = (plugins / f"{stem}.cpp").read_text()
        found = _text_constant(source, "kNAME")
        yield from _different(f"{stem}.cpp", "kNAME", found, operator.name)
        fields = {
            name: (_TYPES[field.type], "" if field.length == "n" else str(field.length))
            for name, field in operator.contract.fields.items()
        }
        yield from _different(f"{stem}.cpp", "names()", plugin_fields(source), fields)
        yield from _different(f"{stem}.cpp", "allowOnly()", _allowed(source), list(fields))
        for (name, symbol), constant in LIMITS.items():
            if name == operator.name:
                value = _number_constant(source + limits, constant)
                yield from _different(stem, constant, value, _limit(operator, symbol))


def _limit(operator: Operator, symbol: str) -> int | float | None:
    field = operator.contract.fields.get(symbol)
    return field.most if field else (operator.contract.limits or {}).get(symbol)


def _different(place: str, name: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{place}: {name} is {found}, the contract has {wanted}"


def _text_constant(source: str, name: str) -> str | None:
    found = re.search(rf'constexpr char const\* {name} = "([^"]*)";', source)
    return found[1] if found else None


def _number_constant(source: str, name: str) -> int | None:
    found = re.search(rf"(?:#define {name}|constexpr int32_t {name} =) (\d+)\b", source)
    return int(found[1]) if found else None


def plugin_fields(source: str) -> dict[str, tuple[str, str]]:
    """Return the fields that a plugin's `names()` lists: type and length by name.

    The length is empty if it depends on the number of levels.

    Args:
        source: text of the plugin's C++ file.
    """
    listed = re.search(r" names\(\)\n    \{\n(.*?)\n    \}\n", source, re.DOTALL)
    pattern = r'\{"(\w+)", nullptr, PluginFieldType::(\w+)(?:, (\d+))?\}'
    found = re.findall(pattern, listed[1]) if listed else []
    return {name: (kind, length) for name, kind, length in found}


def _allowed(source: str) -> list[str]:
    listed = re.search(r"allowOnly\(\{([^}]*)\}\)", source)
    return re.findall(r'"(\w+)"', listed[1]) if listed else []


def differences(plugins: Path) -> Iterator[str]:
    """Yield one sentence for each difference of files or sources from the contracts."""
    for operator in PLUGIN_OPERATORS.values():
        path = plugins / config_path(operator)
        if not path.is_file() or path.read_text() != config_text(operator):
            yield f"{path.relative_to(plugins)} is out of date; run `make contracts`"
    yield from source_differences(plugins)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plugins", nargs="?", type=Path, default=Path("plugins"))
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args(arguments)
    if not (given.plugins / "common" / "plugin.h").is_file():
        parser.error(f"{given.plugins} is not the plugins' folder; run this in the repository")
    if not given.check:
        for operator in PLUGIN_OPERATORS.values():
            path = given.plugins / config_path(operator)
            path.parent.mkdir(exist_ok=True)
            path.write_text(config_text(operator))
    found = list(differences(given.plugins))
    for each in found:
        print(each, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    status = main()
    sys.exit(status)
