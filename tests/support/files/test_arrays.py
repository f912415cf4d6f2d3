"""NumPy's files are read as data, and no bomb goes off."""

import io
import pickle
import random
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.support.files import read_npy, read_npz
from samples import sentence


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def header(shape: str, descr: str = "'<f4'", fortran: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(LzuError) as caught:
        (read_npz if path.suffix == ".npz" else read_npy)(path, remedy="give another", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; give another")
    return str(caught.value)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "floats": generator.random((3, 4)).astype(np.float16),
        "columns": np.asfortranarray(generator.random((3, 4, 2))),
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "text": np.array(["a", "äöü"]),
        "none": np.zeros((0, 5), np.int8),
        "scalar": np.array(7),
        "truth": np.array([True, False]),
        "a/b": np.arange(2),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    found["floats"][0] = 0  # they are the caller's
    for array in arrays.values():
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    objects = np.array([Bomb(mark)], object)
    np.savez(tmp_path / "a.npz", x=objects)
    np.save(tmp_path / "a.npy", objects)
    assert "neither numbers nor text" in refused(tmp_path / "a.npz")
    assert "neither numbers nor text" in refused(tmp_path / "a.npy")
    for name in ("b.npz", "b.npy"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
        refused(tmp_path / name)
    archive(tmp_path / "c.npz", x=pickle.dumps(Bomb(mark)))
    refused(tmp_path / "c.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ("(1000000000000,)", "'<f4'"),
        ("(4294967296, 4294967296)", "'<f4'"),
        ("(0, 99999999999999999999)", "'<f4'"),
        ("(-1,)", "'<f4'"),
        ("(2,)", "'<U2000000000'"),
        ("(True,)", "'<f4'"),
        ("(3.0,)", "'<f4'"),
        ("(1,)", "[('a', '<f4')]"),
        ("(1,)", "'|V4'"),
        ("(1,)", "'<c8'"),
        ("(" * 5000 + ")" * 5000, "'<f4'"),
        ("(__import__('os').getpid(),)", "'<f4'"),
        ("(1,)", "'<M8[s]'"),
    ],
)
def test_headers_that_promise_what_does_not_follow(tmp_path: Path, shape: str, descr: str) -> None:
    """Before memory is taken for it."""
    content = header(shape, descr) + b"\0\0\0\0"
    (tmp_path / "a.npy").write_bytes(content)
    refused(tmp_path / "a.npy")
    refused(archive(tmp_path / "a.npz", x=content))


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", x=header("(16777216,)") + bytes(1 << 26))
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "unpacks to 67108" in refused(path, limit=1 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB
    many = {f"x{i}": header("(0,)") for i in range(5000)}
    assert "has 5000 members" in refused(archive(tmp_path / "b.npz", **many))


def test_members_that_numpy_would_not_write(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x.npy", header("(0,)"))
    assert "packed in a way that NumPy does not use" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header("(0,)"))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x.npy", header("(0,)"))
    assert "have one name" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header("(1,)", "'<U1'") + b"\xff\xff\xff\x7f")
    refused(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_edit_of_an_archive_is_refused_or_harmless(tmp_path: Path, save: Any) -> None:
    """Bytes, pieces, and ends: a sentence, or the values as they were."""
    arrays = {"x": np.arange(40, dtype=np.float32).reshape(5, 8), "name": np.array("key")}
    buffer = io.BytesIO()
    save(buffer, **arrays)
    whole, path = buffer.getvalue(), tmp_path / "a.npz"
    generator = random.Random(5)
    wrong = 0
    for _ in range(600):
        content = bytearray(whole)
        i, kind = generator.randrange(len(whole)), generator.randrange(4)
        if kind < 2:
            content[i] ^= 1 << generator.randrange(8)
        elif kind == 2:
            content[i : i + 8] = generator.randbytes(8)
        else:
            del content[i : i + generator.randrange(1, 200)]
        path.write_bytes(content)
        if sentence(lambda: read_npz(path)) is not None:
            wrong += 1
            continue
        found = read_npz(path)
        for name in set(found) & set(arrays):  # a flipped letter renames one
            np.testing.assert_array_equal(found[name], arrays[name])
    assert wrong > 300
