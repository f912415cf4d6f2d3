"""Open checkpoint files as data: PyTorch's archives, its older files, and safetensors.

Nothing that such a file names is imported or called, see `inert_pickle`. Sizes are checked against
the file before anything is read.
"""

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.models.file_kinds import COPY_AGAIN, LEGACY, SAFETENSORS, ZIP, checkpoint_kind
from lzu_export.models.inert_pickle import (
    Foreign,
    PickleError,
    Storage,
    StoredTensor,
    explain,
    read_pickle,
)

MOST_HEADER = 100_000_000
"""Largest header of a safetensors file in bytes, the format's own limit."""
MOST_DIRECTORY = 1 << 26
"""Largest directory of an archive in bytes, enough for half a million members."""
MOST_SHARING = 16
"""Limit of the values of all tensors per byte of the file; shared values count each time."""

TYPES: dict[str, str] = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
    "complex64": "<c8",
    "complex128": "<c16",
}
"""NumPy's codes of stored values, by the name of their type."""

_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""Exceptions that damaged, encrypted or newer zip archives raise."""

_WIDTHS = {"qint8": 1, "quint8": 1, "qint32": 4}
"""Size in bytes of a value, for types that no weights have."""

_SAFETENSORS: dict[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


class Archive:
    """Open checkpoint file: its content, and its tensors' values, which are read on demand.

    It is a context manager.
    """

    content: Any
    """Content of the file, see `inert_pickle.read_pickle`; tensors are `StoredTensor`."""
    notes: Mapping[str, str]
    """Texts that safetensors keeps beside the tensors."""

    def __init__(self, path: Path) -> None:
        """Open the file and read all but the values of its tensors.

        Raises:
            LzuError: the file is missing, damaged, no checkpoint, or would run code if unpickled.
        """
        self.path, self.notes = path, {}
        kind = checkpoint_kind(path)
        self._size = path.stat().st_size
        self._stack = ExitStack()
        self._read: Callable[[Storage], bytes]
        self._storages: dict[str, bytes] = {}
        self._values = 0
        with ExitStack() as stack:
            file = stack.enter_context(path.open("rb"))
            opened = {ZIP: self._open_zip, LEGACY: self._open_legacy, SAFETENSORS: self._open_safe}
            try:
                self.content = opened[kind](file)
            except PickleError as error:
                raise explain(error, path) from error
            except _UNREADABLE as error:
                raise self._damaged(str(error)) from error
            except (struct.error, ValueError, TypeError, KeyError, OSError) as error:
                raise self._damaged("its structure is broken") from error
            self._stack = stack.pop_all()

    def __enter__(self) -> "Archive":
        """Return the archive itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._stack.close()

    def values(self, tensor: StoredTensor, name: str) -> NDArray[Any]:
        """Read a tensor's values, floating-point ones as float32.

        Raises:
            LzuError: weights do not have this type, or not all values are in the file.
        """
        if tensor.dtype not in TYPES:
            raise LzuError(
                f"checkpoint {self.path} stores {name} as {tensor.dtype}; give one of float32, "
                "float16 or bfloat16 (dequantise it where it was made)"
            )
        dtype = np.dtype(TYPES[tensor.dtype])
        storage = tensor.storage
        count = storage.count if storage.dtype else storage.count // dtype.itemsize
        number = math.prod(tensor.shape)
        reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
        self._values += number
        most = MOST_SHARING * max(self._size, 1 << 20)
        outside = number > 0 and (tensor.offset + reach >= count or number > count)
        if outside or self._values > most:
            raise self._damaged(f"{name} is larger than what is stored of it")
        if storage.key not in self._storages:
            self._storages[storage.key] = self._load(storage, count * dtype.itemsize)
        flat = np.frombuffer(self._storages[storage.key], dtype, count)
        strides = [step * dtype.itemsize for step in tensor.stride]
        shown = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
        if tensor.dtype == "bfloat16":
            wide = np.array(shown, np.uint32, order="C") << 16
            return np.asarray(wide).view(np.float32).reshape(tensor.shape)
        if dtype.kind == "f":
            with np.errstate(over="ignore"):  # reported by name in `check_finite`
                return np.array(shown, np.float32, order="C")
        return np.array(shown, order="C")

    def _load(self, storage: Storage, size: int) -> bytes:
        if size > self._size:
            raise self._damaged("it claims to hold more than it does")
        try:
            data = self._read(storage)
        except (*_UNREADABLE, KeyError, OSError, ValueError) as error:
            raise self._damaged(f"the values {storage.key} are not there or differ") from error
        if len(data) < size:
            raise self._damaged(f"the values {storage.key} are not all there")
        return data

    def _damaged(self, why: str) -> LzuError:
        return LzuError(
            f"checkpoint {self.path} is truncated or not a PyTorch checkpoint: {why}; {COPY_AGAIN}"
        )

    def _open_zip(self, file: IO[bytes]) -> Any:
        if _directory_size(file, self._size) > MOST_DIRECTORY:
            raise self._damaged("it has more members than a checkpoint has")
        archive = self._stack.enter_context(zipfile.ZipFile(file))
        members = {each.filename: each for each in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise LzuError(
                f"checkpoint {self.path} is a zip archive but not a PyTorch checkpoint (it holds "
                f"{_some_of(members)}); unpack it if the checkpoint is inside"
            )
        folder = pickles[0].removesuffix("data.pkl")
        if any(name.startswith((f"{folder}code/", f"{folder}constants.pkl")) for name in members):
            raise LzuError(
                f"checkpoint {self.path} is a TorchScript archive; give the state dict it was made "
                "from"
            )

        def member(name: str) -> bytes:
            info = members[folder + name]
            # Members are stored uncompressed, so none is larger than the file, as a bomb would be.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > self._size:
                raise zipfile.BadZipFile("a member is compressed, which PyTorch's are not")
            return archive.read(info)

        if f"{folder}byteorder" in members and member("byteorder") != b"little":
            raise LzuError(
                f"checkpoint {self.path} was written by a big-endian machine; save it again on "
                "another"
            )
        self._read = lambda storage: member(f"data/{storage.key}")
        return read_pickle(BytesIO(member("data.pkl")))

    def _open_legacy(self, file: IO[bytes]) -> Any:
        read_pickle(file)  # the magic number, by which the file was recognised
        read_pickle(file)  # the version of the format
        machine = read_pickle(file)
        if isinstance(machine, dict) and machine.get("little_endian") is False:
            raise LzuError(
                f"checkpoint {self.path} was written by a big-endian machine; save it again on "
                "another"
            )
        storages: dict[str, Storage] = {}
        content = read_pickle(file, storages)
        keys = read_pickle(file)
        if not isinstance(keys, list):
            raise PickleError("is damaged")
        places: dict[str, tuple[int, int]] = {}
        at = file.tell()
        for key in map(str, keys):
            file.seek(at)
            (count,) = struct.unpack("<q", file.read(8))
            storage = storages.get(key)
            if storage is None or storage.dtype is None or count < 0:
                raise PickleError("is damaged")
            width = _WIDTHS.get(storage.dtype) or np.dtype(TYPES[storage.dtype]).itemsize
            places[key] = (at + 8, count * width)
            at += 8 + count * width
        if at > self._size:
            raise PickleError("claims more values than there are")

        self._read = _reader(file, places)
        return content

    def _open_safe(self, file: IO[bytes]) -> Any:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(MOST_HEADER, self._size - 8):
            raise self._damaged("its header is longer than it may be")
        try:
            header = json.loads(file.read(length))
        except RecursionError as error:
            raise self._damaged("its header is not a list of tensors") from error
        if not isinstance(header, dict):
            raise self._damaged("its header is not a list of tensors")
        notes = header.pop("__metadata__", {})
        if isinstance(notes, dict):
            self.notes = {str(key): each for key, each in notes.items() if isinstance(each, str)}
        start, room = 8 + length, self._size - 8 - length
        places: dict[str, tuple[int, int]] = {}
        found: dict[str, StoredTensor] = {}
        for name, said in header.items():
            dtype = _SAFETENSORS.get(str(said["dtype"]), str(said["dtype"]))
            begin, end = (_whole(each) for each in said["data_offsets"])
            shape = tuple(_whole(each) for each in said["shape"])
            if not 0 <= begin <= end <= room:
                raise self._damaged(f"the values of {name} lie outside of it")
            count = math.prod(shape)
            if dtype in TYPES and count * np.dtype(TYPES[dtype]).itemsize != end - begin:
                raise self._damaged(f"{name} has another size than its shape says")
            places[name] = (start + begin, end - begin)
            stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
            found[name] = StoredTensor(Storage(dtype, name, count), dtype, 0, shape, stride)
        used = sorted(places.values())
        if any(a + size > b for (a, size), (b, _) in pairwise(used)):
            raise self._damaged("values of two tensors overlap")

        self._read = _reader(file, places)
        return found


def _reader(file: IO[bytes], places: Mapping[str, tuple[int, int]]) -> Callable[[Storage], bytes]:
    """Make a reader of storages' values from their places in the file, (start, size) by key."""

    def read(storage: Storage) -> bytes:
        start, size = places[storage.key]
        file.seek(start)
        return file.read(size)

    return read


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise ValueError("no size")
    return value


def _directory_size(file: IO[bytes], size: int) -> int:
    """Size of a zip archive's directory in bytes, 0 if it has none."""
    tail = min(size, 65557 + 20)
    file.seek(size - tail)
    data = file.read(tail)
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or at + 20 > len(data):
        return 0
    (length,) = struct.unpack("<I", data[at + 12 : at + 16])
    if length != 0xFFFFFFFF:
        return int(length)
    # Zip64: its end record precedes the locator, which precedes this record.
    wide = data.rfind(b"PK\x06\x06", 0, at)
    if wide < 0 or wide + 48 > len(data):
        return 0
    return int(struct.unpack("<Q", data[wide + 40 : wide + 48])[0])


def _some_of(members: Mapping[str, Any], most: int = 3) -> str:
    names = list(members)
    rest = len(names) - most
    shown = ", ".join(name[:60] for name in names[:most])
    return (shown + (f" and {rest} more" if rest > 0 else "")) or "nothing"


def meta_of(archive: Archive) -> Mapping[str, Any]:
    """Return the record beside an archive's weights: `meta` and the texts of safetensors."""
    content = archive.content
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if isinstance(meta, Foreign):
        meta = {**meta.items, **(meta.state if isinstance(meta.state, Mapping) else {})}
    found = meta if isinstance(meta, Mapping) else {}
    return {**archive.notes, **{str(key): value for key, value in found.items()}}


def read_meta(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read the record beside a file's weights under `meta`, without reading the weights.

    Raises:
        LzuError: the file is missing, damaged or no checkpoint.
    """
    with Archive(Path(path)) as archive:
        return meta_of(archive)
