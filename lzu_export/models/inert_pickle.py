"""Read pickles as data: containers, numbers, text and descriptions of stored tensors.

Nothing that a pickle names is imported, looked up or called. A small interpreter walks the opcodes
and turns every object of a class into a `Foreign`, which only stores its name and content.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from lzu_export.errors import LzuError

MOST_BYTES = 1 << 28
"""Size limit of one pickle in bytes; a checkpoint's pickle only describes the stored tensors."""
MOST_STEPS = 5_000_000
"""Largest number of opcodes of one pickle; reading them takes a minute at most."""
LONGEST_LINE = 1 << 16
"""Largest size in bytes of a text opcode's argument."""

CALLS = frozenset(
    {
        "os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "pty", "runpy", "importlib",
        "webbrowser", "ctypes", "code", "codeop", "pdb", "asyncio", "multiprocessing", "pip",
        "urllib", "http", "requests", "_posixsubprocess", "commands", "timeit", "pickle", "_pickle",
        "dill", "cloudpickle",
    }
)  # fmt: skip
"""Modules that occur in exploits, but not in checkpoints written by a training."""
BUILTIN_CALLS = frozenset({"eval", "exec", "compile", "open", "__import__", "execfile", "input"})


class PickleError(Exception):
    """Error of a pickle, whose message is the end of a sentence."""


class DangerousCallError(PickleError):
    """Error of a pickle that would run code if unpickled; the message is the function's name."""


class Name(str):
    """Reference of a pickle to `module.attribute`, which is never looked up."""

    __slots__ = ()


@dataclass
class Foreign:
    """Object of a class, described by the class's name and the content it is made from."""

    name: str
    arguments: Any = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    """Items that were set in the object as in a dictionary."""


@dataclass(frozen=True)
class Storage:
    """Storage of values that tensors may share."""

    dtype: str | None
    """Type such as `float32`; None if only the tensors define it."""
    key: str
    count: int
    """Number of values, or of bytes if there is no dtype."""


@dataclass(frozen=True)
class StoredTensor:
    """Tensor described by the place of its values in a storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class OddTensor:
    """Tensor that is not stored as plain values."""

    kind: str
    """Kind of the tensor, such as `quantised`."""


class Bounded:
    """File that can be read up to a number of bytes."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def read(self, count: int = -1) -> bytes:
        """Read bytes; raises PickleError if more are requested than may be read."""
        if count < 0 or count > self._left:
            raise PickleError("claims to be longer than it is")
        data = self._file.read(count)
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        """Read a line; raises PickleError if it is too long."""
        data = self._file.readline(min(LONGEST_LINE, self._left))
        if len(data) == LONGEST_LINE:
            raise PickleError("holds a line that is too long")
        self._left -= len(data)
        return data


def read_pickle(file: IO[bytes], storages: dict[str, Storage] | None = None) -> Any:
    """Read the content of the pickle at the file's position, and leave the file at its end.

    Args:
        file: open file to read from.
        storages: dictionary that receives all storages that are referred to, by key.

    Returns:
        None, bool, int, float, str, bytes, list, tuple and dict; sets as lists; `Name`, `Foreign`,
        `Storage`, `StoredTensor` and `OddTensor`.

    Raises:
        PickleError: the pickle is damaged or too large.
        DangerousCallError: the pickle calls a function that would run code.
    """
    machine = _Machine({} if storages is None else storages)
    bounded: Any = Bounded(file, MOST_BYTES)
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if steps > MOST_STEPS:
                raise PickleError("holds more than a checkpoint does")
            machine.step(opcode.name, argument)
        return machine.result()
    except PickleError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError) as error:
        raise PickleError("is damaged") from error


_MARK = object()
_SAME = frozenset(
    {
        "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    }
)  # fmt: skip
"""Opcodes that push their argument."""
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


class _Machine:
    """Stack and memo of a pickle that is being read."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def result(self) -> Any:
        """Return the final object."""
        if self.stack[-1] is _MARK:
            raise PickleError("is damaged")
        return self.stack[-1]

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode."""
        if opcode in _SAME:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLES:
            self.stack[-_TUPLES[opcode] :] = [tuple(self.stack[-_TUPLES[opcode] :])]
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[argument] = self.stack[-1]
        elif opcode == "MEMOIZE":
            self.memory[len(self.memory)] = self.stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memory[argument])
        elif opcode not in _IGNORED:
            self._composite(opcode, argument)

    def _composite(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in ("TUPLE", "FROZENSET"):
            stack.append(tuple(self._marked()))
        elif opcode == "LIST":
            stack.append(self._marked())
        elif opcode == "DICT":
            items = self._marked()
            stack.append({})
            _set_items(stack[-1], items)
        elif opcode == "APPEND":
            value = stack.pop()
            _append(stack[-1], [value])
        elif opcode in ("APPENDS", "ADDITEMS"):
            items = self._marked()
            _append(stack[-1], items)
        elif opcode == "SETITEM":
            items = stack[-2:]
            del stack[-2:]
            _set_items(stack[-1], items)
        elif opcode == "SETITEMS":
            items = self._marked()
            _set_items(stack[-1], items)
        elif opcode == "POP":
            stack.pop()
        elif opcode == "POP_MARK":
            self._marked()
        elif opcode == "DUP":
            stack.append(stack[-1])
        else:
            self._object(opcode, argument)

    def _object(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode == "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        elif opcode == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_name(module, attribute))
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(_called(function, arguments))
        elif opcode == "NEWOBJ_EX":
            keywords, arguments, function = stack.pop(), stack.pop(), stack.pop()
            stack.append(_called(function, (arguments, keywords)))
        elif opcode == "INST":
            arguments = tuple(self._marked())
            stack.append(_called(_name(*argument.split(" ", 1)), arguments))
        elif opcode == "OBJ":
            function, *rest = self._marked()
            stack.append(_called(function, tuple(rest)))
        elif opcode == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Foreign):
                stack[-1].state = state
        elif opcode in ("BINPERSID", "PERSID"):
            storage = _storage(argument if opcode == "PERSID" else stack.pop())
            self.storages[storage.key] = storage
            stack.append(storage)
        else:
            raise PickleError(f"holds {opcode}, which no checkpoint does")

    def _marked(self) -> list[Any]:
        """Remove the topmost mark and all above it, and return the items above it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise PickleError("is damaged")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items


def _append(to: Any, items: list[Any]) -> None:
    if isinstance(to, list):
        to.extend(items)
    elif not isinstance(to, Foreign):
        raise PickleError("is damaged")


def _set_items(to: Any, items: list[Any]) -> None:
    target = to.items if isinstance(to, Foreign) else to
    if not isinstance(target, dict) or len(items) % 2:
        raise PickleError("is damaged")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys, such as tuples within tuples, could not be hashed safely and are not needed.
        if isinstance(key, (str, int, float, bytes)) or key is None:
            target[key] = value


def _name(module: Any, attribute: Any) -> Name:
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise PickleError("is damaged")
    return Name(f"{module}.{attribute}")


_REBUILT = {
    "_rebuild_qtensor": "quantised",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "without values",
    "_rebuild_device_tensor_from_numpy": "of another device",
    "_rebuild_device_tensor_from_cpu_tensor": "of another device",
    "_rebuild_wrapper_subclass": "of a class of its own",
}
"""Kind of tensor that each function rebuilds."""


def _called(function: Any, arguments: Any) -> Any:
    """Return the result of a call: a container, a tensor's description, or a foreign object."""
    if not isinstance(function, Name):
        return Foreign(type(function).__name__, arguments)
    module, _, attribute = function.rpartition(".")
    root = module.partition(".")[0]
    builtin = root in ("builtins", "__builtin__") and attribute in BUILTIN_CALLS
    if root in CALLS or builtin:
        raise DangerousCallError(str(function))
    if function in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict"):
        return _as_dict(arguments)
    if function in ("builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple"):
        return list(*arguments)
    if function == "torch.Size":
        return tuple(*arguments)
    if module in ("torch._utils", "torch._tensor"):
        return _tensor(attribute, arguments)
    return Foreign(str(function), arguments)


def _as_dict(arguments: Any) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    pairs = arguments[-1] if arguments else ()
    if isinstance(pairs, dict):
        made.update(pairs)
    elif isinstance(pairs, (list, tuple)):
        for pair in pairs:
            _set_items(made, list(pair))
    return made


def _tensor(function: str, arguments: Any) -> Any:
    if function in ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3"):
        storage, offset, shape, stride, *rest = arguments
        if not isinstance(storage, Storage):
            raise PickleError("is damaged")
        dtype = storage.dtype
        if function.endswith("v3"):
            dtype = str(rest[2]).removeprefix("torch.")
        sizes, steps = _sizes(shape), _sizes(stride)
        if dtype is None or offset < 0 or len(sizes) != len(steps):
            raise PickleError("is damaged")
        return StoredTensor(storage, dtype, int(offset), sizes, steps)
    if function in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if function == "_rebuild_from_type_v2":
        return _called(arguments[0], arguments[2])
    if function in _REBUILT:
        return OddTensor(_REBUILT[function])
    return Foreign(f"torch.{function}", arguments)


def _sizes(values: Any) -> tuple[int, ...]:
    sizes = tuple(int(each) for each in values)
    if any(each < 0 for each in sizes):
        raise PickleError("is damaged")
    return sizes


_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
"""Type of the values of each storage class."""


def _storage(described: Any) -> Storage:
    """Return the storage that a persistent id of PyTorch describes."""
    if not isinstance(described, tuple) or len(described) < 5 or described[0] != "storage":
        raise PickleError("refers to something outside of it")
    _, kind, key, _, count = described[:5]
    name = str(kind).rpartition(".")[2]
    if name not in _STORAGES and name != "UntypedStorage":
        raise PickleError(f"stores values as {name}, which is not known")
    return Storage(_STORAGES.get(name), str(key), int(count))


def explain(error: PickleError, path: object) -> LzuError:
    """Make the error with which a checkpoint's pickle is refused."""
    if isinstance(error, DangerousCallError):
        return LzuError(
            f"checkpoint {path} was refused because it holds {error}, a call that runs code "
            "where the file is unpickled; do not load it elsewhere, and take one from a source "
            "that you trust, or have its weights re-saved alone"
        )
    return LzuError(
        f"checkpoint {path} is truncated or not a PyTorch checkpoint: its pickle {error}; copy or "
        "download it again and compare its size with the original's"
    )
