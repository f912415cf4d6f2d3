"""Read YAML as plain data, within bounds. The module is separate: devices have no PyYAML."""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import Node

from lzu_export.errors import LzuError
from lzu_export.support.escaping import visible
from lzu_export.support.files.reading import read_bytes

LIMIT = 1 << 20
"""Largest YAML file in bytes that is read; recipes have some thousand."""
DEPTH = 40
"""Deepest nesting of YAML that is read."""
VALUES = 100_000
"""Largest number of values, each counted as often as aliases repeat it."""


class KeyGivenTwice(yaml.YAMLError):
    """A mapping gives a key twice; YAML itself would take the last value."""


class _Loader(yaml.SafeLoader):
    """Loads only plain data, as YAML's safe loader does, with bounded nesting and unique keys."""

    nested = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.nested += 1
        if self.nested > DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(f"it is nested more than {DEPTH} deep at line {mark.line + 1}")
        try:
            return super().compose_node(parent, index)
        finally:
            self.nested -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise KeyGivenTwice(
                    f"gives the key {visible(key.value)} twice, at lines {lines[key.value]} and "
                    f"{line}; keep one"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Parse YAML to plain data: tags create no objects, and aliases cannot multiply without bound.

    Raises:
        yaml.YAMLError: the text is no YAML, has another tag, a key twice, or too many values.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except (ValueError, OverflowError, RecursionError, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from error  # an invalid date or number
    _count(data)
    return data


def read_keys(path: Path, what: str, empty: str) -> dict[str, Any]:
    """Read a YAML file whose content is keys with values.

    Args:
        path: the file.
        what: what the file is, such as `recipe`, for messages.
        empty: remedy where the file holds no keys.

    Raises:
        LzuError: the file is missing, is no text in UTF-8 or no YAML, gives a key twice, or holds
            no keys.
    """
    try:
        content = read_bytes(path, limit=LIMIT, remedy=f"give a {what}")
        data = parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LzuError(f"{what} {path} is not text in UTF-8; save it as such") from error
    except KeyGivenTwice as error:
        raise LzuError(f"{what} {path} {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise LzuError(f"{what} {path} is not valid YAML{line}: fix the file") from error
    if not isinstance(data, dict):
        raise LzuError(f"{what} {path} holds no keys; {empty}")
    return data


def _count(data: Any) -> None:
    found, level = 0, [data]
    while level:
        each = level.pop()
        found += 1
        if found > VALUES:
            raise yaml.YAMLError(f"it has more than {VALUES} values, or an alias of itself")
        if isinstance(each, dict):
            level += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set)):
            level += each
