"""Inspect an ONNX file before it is opened: the external files and operators that it needs.

This reads the wire format, since a device that runs bundles has no `onnx`. Weights are skipped, so
that a large file takes no longer than a small one with as many nodes.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.support.files.reading import REMEDY, open_regular

EXTERNAL = 1
"""ONNX's `data_location` of a tensor whose values are in another file."""
FOREIGN = ("EPContext", "PyOp", "PythonOp", "PythonOpGrad")
"""Operators through which ONNX Runtime opens files or runs Python."""
REPEATING = (
    "Loop", "Scan", "SequenceMap", "BeamSearch", "WhisperBeamSearch",
    "GreedySearch", "Sampling",
)  # fmt: skip
"""Operators that repeat a graph, perhaps without end; this package writes none of them."""
DEPTH = 32
"""Deepest nesting of messages that is read."""
_FIELD = 0x7
_Tree = Mapping[int, Any]
_Operator = tuple[str, str]
"""Domain and name of an operator."""

_TENSOR: dict[int, Any] = {}
_SPARSE: dict[int, Any] = {1: _TENSOR, 2: _TENSOR}
_GRAPH: dict[int, Any] = {}
_ATTRIBUTE = {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE}
_NODE = {5: _ATTRIBUTE}
_GRAPH.update({1: _NODE, 5: _TENSOR, 15: _SPARSE})
_FUNCTION = {7: _NODE, 11: _ATTRIBUTE}
_FUNCTIONS = 25
_TRAINING = {1: _GRAPH, 2: _GRAPH}
_MODEL = {7: _GRAPH, 20: _TRAINING, _FUNCTIONS: _FUNCTION}
"""Messages of onnx.proto by the number of the field that holds them, as far as they lead to
tensors."""


def check_graph(path: Path, *, remedy: str = REMEDY) -> Path:
    """Refuse an ONNX file that needs another file, runs more than operators, or may never end.

    Args:
        path: path of the file.
        remedy: advice that ends the error's sentence.

    Returns:
        `path`.

    Raises:
        LzuError: the file cannot be read or is no ONNX file. Or it holds a tensor whose values are
            in another file, an operator that opens files by itself or repeats a graph, or functions
            that call functions, which can expand to more nodes than any memory holds.
    """
    with open_regular(path, remedy=remedy) as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _walk(content, 0, len(content), _MODEL, DEPTH)
                _check_functions(content)
        except _Refused as error:
            raise LzuError(f"{path} {error}; {remedy}") from None
        except (ValueError, IndexError) as error:
            raise LzuError(f"{path} is damaged or no ONNX file; {remedy}") from error
    return path


class _Refused(Exception):
    """Fault of a graph, for which it is refused."""


def _walk(content: mmap.mmap, start: int, end: int, tree: _Tree, depth: int) -> None:
    if depth < 0:
        raise ValueError("graphs in graphs")
    name = ""
    for number, kind, value, after in _fields(content, start, end):
        if tree is _TENSOR:
            if number == 8 and kind == 2:
                name = content[value:after][:200].decode(errors="replace")
            if (number == 14 and kind == 0 and value == EXTERNAL) or number == 13:
                where = f" of tensor {name}" if name else ""
                raise _Refused(f"keeps values{where} in another file, which is not opened")
        elif tree is _NODE and number == 4 and kind == 2:
            operator = content[value:after].decode(errors="replace")
            if operator in FOREIGN:
                raise _Refused(f"has an operator {operator}, which opens files or runs code")
            if operator in REPEATING:
                raise _Refused(f"has an operator {operator}, which may repeat without end")
        elif number in tree:
            if kind != 2:
                raise ValueError("no message")
            _walk(content, value, after, tree[number], depth - 1)


def _check_functions(content: mmap.mmap) -> None:
    """Refuse functions that call functions of the model: ten calls each, twelve deep, are 10^12."""
    names: set[_Operator] = set()
    called: set[_Operator] = set()
    for number, _, start, end in _fields(content, 0, len(content)):
        if number == _FUNCTIONS:
            names.add(_texts(content, start, end, 10, 1))
            for part, kind, first, last in _fields(content, start, end):
                if part == 7 and kind == 2:
                    called |= _operators(content, first, last, DEPTH)
    for _, name in sorted(names & called):
        raise _Refused(f"has a function that calls the function {name[:200]}")


def _operators(content: mmap.mmap, start: int, end: int, depth: int) -> set[_Operator]:
    """Return the operators of a node and of the nodes in its graphs."""
    if depth < 0:
        raise ValueError("graphs in graphs")
    found = {_texts(content, start, end, 7, 4)}
    for attribute in _messages(content, start, end, 5):
        for graph in _messages(content, *attribute, 6, 11):
            for node in _messages(content, *graph, 1):
                found |= _operators(content, *node, depth - 1)
    return found


def _messages(content: mmap.mmap, start: int, end: int, *numbers: int) -> Iterator[tuple[int, int]]:
    for number, kind, first, last in _fields(content, start, end):
        if number in numbers and kind == 2:
            yield first, last


def _texts(content: mmap.mmap, start: int, end: int, domain: int, name: int) -> _Operator:
    """Return the domain and the name in these fields of a message."""
    found = {domain: "", name: ""}
    for number, kind, first, last in _fields(content, start, end):
        if number in found and kind == 2:
            found[number] = content[first:last].decode(errors="replace")
    standard = "" if found[domain] == "ai.onnx" else found[domain]
    return standard, found[name]


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, kind, value or start, end) of every field of a message."""
    place = start
    while place < end:
        key, place = _varint(content, place, end)
        number, kind = key >> 3, key & _FIELD
        value = place
        if kind == 0:
            value, place = _varint(content, place, end)
        elif kind == 1:
            place += 8
        elif kind == 2:
            length, value = _varint(content, place, end)
            place = value + length
        elif kind == 5:
            place += 4
        else:  # proto3 has no groups, and protobuf no other kinds
            raise ValueError("unknown kind of field")
        if place > end or number == 0:
            raise ValueError("a field beyond its message")
        yield number, kind, value, place


def _varint(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    if place < end and (byte := content[place]) < 0x80:  # most numbers have one byte
        return byte, place + 1
    value = shift = 0
    while place < end and shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("a number without end")
