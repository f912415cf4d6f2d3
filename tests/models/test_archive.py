"""Checkpoint files that were made to harm, and safetensors."""

import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.models.archive import read_meta
from lzu_export.models.checkpoint import load_checkpoint, load_state
from lzu_export.models.inert_pickle import (
    DangerousCallError,
    Foreign,
    Name,
    PickleError,
    read_pickle,
)

MAGIC = 0x1950A86A20F9469CFC6C


def small() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{i}.weight": torch.rand(3, 2, generator=generator) for i in range(4)}
    return {"meta": {"CLASSES": ("a", "b"), "epoch": np.int64(3)}, "state_dict": weights}


def refused(path: Path) -> str:
    with pytest.raises(LzuError) as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def as_archive(path: Path, pickled: bytes, **members: bytes) -> Path:
    """A checkpoint of this pickle, as PyTorch lays it out."""
    with zipfile.ZipFile(path, "w") as made:
        for name, data in {"data.pkl": pickled, "byteorder": b"little", **members}.items():
            made.writestr(f"a/{name}", data)
    return path


# Pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_is_what_it_was(protocol: int) -> None:
    shared = [1, 2]
    content = {
        "numbers": [0, -1, 255, 65536, -(2**31), 2**70, 1.5, float("inf"), True, None],
        "texts": ["", "a", "ä" * 300, b"", b"x" * 300],
        "nested": {"a": (1, (2,), (3, 4), (1, 2, 3, 4)), "b": [shared, shared]},
        7: {1: 2},
    }
    found = read_pickle(io.BytesIO(pickle.dumps(content, protocol)))
    if protocol > 2:  # before, bytes are calls of an encoder
        assert found == content
    assert found["texts"][:3] == content["texts"][:3]
    assert found["numbers"] == content["numbers"]
    assert found["nested"] == content["nested"]
    assert found["nested"]["b"][0] is found["nested"]["b"][1]
    assert found[7] == {1: 2}


class Simple:
    """Pickled by its dictionary."""

    def __init__(self) -> None:
        self.value = 3


def test_objects_are_their_names_and_contents() -> None:
    found = read_pickle(io.BytesIO(pickle.dumps([Simple(), Simple, np.mean])))
    assert isinstance(found[0], Foreign)
    assert found[0].name.endswith("Simple") or "Simple" in str(found[0].arguments)
    assert found[0].state == {"value": 3}
    assert isinstance(found[1], Name)
    assert found[2] == "numpy.mean"


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'touch x'\ntR.",
        b"cposix\nsystem\n(S'touch x'\ntR.",
        b"(S'touch x'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch x'\no.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\nexec\n(S'1'\ntR.",
        b"csubprocess\nPopen\n(S'x'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x02cos\nsystem\n(t}\x92.",
        b"ctorch.serialization\nload\n(S'x'\ntRcos\nsystem\n(S'x'\ntR.",
    ],
)
def test_calls_that_run_code_are_refused(call: bytes) -> None:
    with pytest.raises((DangerousCallError, PickleError)):
        read_pickle(io.BytesIO(call))


def test_calls_hidden_in_lookups_give_inert_objects() -> None:
    """Calls such as getattr of a module's name are not run, since nothing is looked up."""
    call = b"cbuiltins\ngetattr\n(c__main__\nx\nS'system'\ntR(S'touch x'\ntR."
    found = read_pickle(io.BytesIO(call))
    assert isinstance(found, Foreign)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02.",
        b"(((((.",
        b"\x80\x02K\x01K\x02s.",
        b"\x80\x02)\x81.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",  # bytes that are not there
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02h\x05.",
        b"\x80\x02j\xff\xff\xff\xff.",
        b"\x82\x01.",  # an extension
        b"\x97.",  # a buffer from elsewhere
        b"I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02(K\x01e.",
        b"\x80\x02K\x01U\x01aQ.",  # a persistent id that is no storage
        b"}" + b"(K\x01u.",
        b"\x00\x01\x02",
    ],
)
def test_broken_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(PickleError):
        read_pickle(io.BytesIO(data))


def test_a_number_of_a_place_in_memory_costs_no_memory() -> None:
    """The largest memo index of a pickle would make CPython's reader take 64 GB."""
    tracemalloc.start()
    found = read_pickle(io.BytesIO(b"\x80\x02]r\xff\xff\xff\xff."))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert found == []


def test_deep_nesting_neither_recurses_nor_hashes(tmp_path: Path) -> None:
    """Nested tuples overflow the stack when hashed, nested lists when walked."""
    deep = b"\x80\x02)" + b"\x85" * 200_000
    found = read_pickle(io.BytesIO(b"\x80\x02}(" + deep[2:] + b"K\x01u."))
    assert found == {}
    refused(as_archive(tmp_path / "a.pth", deep + b"."))
    refused(as_archive(tmp_path / "b.pth", b"\x80\x02]" + b"]a" * 3 + b"." + b"]" * 10))
    nested = b"\x80\x02" + b"}X\x05\x00\x00\x00model" * 100_000 + b"}" + b"s" * 100_000 + b"."
    refused(as_archive(tmp_path / "c.pth", nested))


def test_more_steps_than_a_checkpoint_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lzu_export.models import inert_pickle

    monkeypatch.setattr(inert_pickle, "MOST_STEPS", 1000)
    with pytest.raises(PickleError, match="more than a checkpoint"):
        read_pickle(io.BytesIO(b"\x80\x02" + b"N0" * 1000 + b"N."))


# Archives


def tensor_pickle(
    *, count: int = 6, offset: int = 0, shape: tuple[int, ...] = (3, 2), stride: Any = (2, 1)
) -> bytes:
    """{"a": a tensor of storage 0}, by hand."""

    def sizes(values: Any) -> bytes:
        return b"(" + b"".join(b"L%dL\n" % each for each in values) + b"t"

    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    )
    storage += b"L%dL\ntQ" % count
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"L%dL\n" % offset
    tensor += sizes(shape) + sizes(stride) + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s."


SIX = np.arange(6, dtype=np.float32).tobytes()


def test_the_hand_made_archive_is_sound(tmp_path: Path) -> None:
    path = as_archive(tmp_path / "a.pth", tensor_pickle(), **{"data/0": SIX})
    assert torch.equal(load_state(path)["a"], torch.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"offset": 1}, SIX),
        ({"offset": -1}, SIX),
        ({"offset": 1 << 62}, SIX),
        ({"shape": (3, 3)}, SIX),
        ({"shape": (1 << 40, 1), "stride": (0, 0)}, SIX),  # a terabyte of one value
        ({"shape": (1 << 62, 1 << 62)}, SIX),
        ({"shape": (-3, -2)}, SIX),
        ({"stride": (1 << 62, 1)}, SIX),
        ({"stride": (-2, 1)}, SIX),
        ({"stride": (2,)}, SIX),
        ({"count": 1 << 40}, SIX),
        ({"count": -6}, SIX),
        ({"count": 7}, SIX),
        ({}, SIX[:-1]),
        ({}, b""),
    ],
)
def test_tensors_reach_no_further_than_their_values(
    changes: dict[str, Any], data: bytes, tmp_path: Path
) -> None:
    path = as_archive(tmp_path / "a.pth", tensor_pickle(**changes), **{"data/0": data})
    assert "is truncated or not a PyTorch checkpoint" in refused(path)


def test_a_missing_storage_is_refused(tmp_path: Path) -> None:
    assert "the values 0 are not there" in refused(as_archive(tmp_path / "a.pth", tensor_pickle()))


def test_many_names_of_one_storage_do_not_fill_the_memory(tmp_path: Path) -> None:
    one = tensor_pickle(count=1 << 18, shape=(1 << 18, 1), stride=(1, 1))
    tensor = one[one.index(b"ctorch._utils") : -2]
    entries = b"".join(b"X\x04\x00\x00\x00%04d" % i + tensor for i in range(300))
    path = as_archive(
        tmp_path / "a.pth", b"\x80\x02}(" + entries + b"u.", **{"data/0": bytes(4 << 18)}
    )
    assert "is larger than what is stored of it" in refused(path)


def test_bombs_are_refused_unpacked(tmp_path: Path) -> None:
    """The archive's member would unpack to a thousand times the file's size."""
    path = tmp_path / "a.pth"
    for name in ("a/data.pkl", "a/data/0"):
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a/data.pkl", tensor_pickle(count=1 << 28, shape=(1 << 28, 1)))
            made.writestr("a/byteorder", b"little")
            made.writestr(name, bytes(1 << 24), zipfile.ZIP_DEFLATED)
        tracemalloc.start()
        assert "is truncated or not a PyTorch checkpoint" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


def test_other_byte_orders_are_refused(tmp_path: Path) -> None:
    path = as_archive(tmp_path / "a.pth", tensor_pickle(), **{"data/0": SIX, "byteorder": b"big"})
    assert "was written by a big-endian machine" in refused(path)


def saved(form: str, path: Path) -> bytes:
    if form == "safetensors":
        path.write_bytes(safe_file(small()["state_dict"]))
    else:
        torch.save(small(), path, _use_new_zipfile_serialization=form == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_changed_bytes_are_refused_or_read_and_never_raise_otherwise(
    form: str, tmp_path: Path
) -> None:
    """An archive has checksums, so a changed value of it is never accepted."""
    path = tmp_path / "a.pth"
    data = saved(form, path)
    right = load_state(path)
    generator = np.random.default_rng(0)
    begin = time.monotonic()
    for _ in range(250):
        edited = bytearray(data)
        for at in generator.integers(0, len(data), generator.integers(1, 4)):
            edited[at] = generator.integers(0, 256)
        path.write_bytes(edited)
        try:
            found = load_state(path)
        except LzuError:
            continue
        if form == "zip":
            assert {name: value.tolist() for name, value in found.items() if name in right} == {
                name: value.tolist() for name, value in right.items() if name in found
            }
    assert time.monotonic() - begin < 60


# safetensors


def safe_file(
    state: dict[str, torch.Tensor], change: Callable[[dict[str, Any]], Any] = id
) -> bytes:
    codes = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "scale": "0.5"}}
    blocks, at = [], 0
    for name, value in state.items():
        whole = value.contiguous()
        block = whole.reshape(-1).view(torch.uint8).numpy().tobytes() if whole.numel() else b""
        header[name] = {
            "dtype": codes[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [at, at + len(block)],
        }
        at += len(block)
        blocks.append(block)
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blocks)


def test_safetensors_give_weights_and_texts(tmp_path: Path) -> None:
    state = {
        "b.weight": torch.rand(3, 4),
        "a.half": torch.rand(2, 3).half(),
        "a.brain": torch.rand(2, 3).bfloat16(),
        "n": torch.tensor([7]),
        "none": torch.zeros(0, 2),
    }
    path = tmp_path / "a.safetensors"
    path.write_bytes(safe_file({f"module.{name}": value for name, value in state.items()}))
    found = load_checkpoint(path)
    assert list(found.state) == list(state)
    for name, value in state.items():
        assert torch.equal(found.state[name], value.float() if value.is_floating_point() else value)
    assert found.meta == {"format": "pt", "scale": "0.5"} == read_meta(path)


def edit(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda header: header["a"].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit(data_offsets=[0, 28]), "a has another size than its shape says"),
        (edit(data_offsets=[0, 1 << 40]), "the values of a lie outside"),
        (edit(data_offsets=[-8, 16]), "its structure is broken"),
        (edit(data_offsets=[24, 0]), "the values of a lie outside"),
        (edit(data_offsets=[0]), "its structure is broken"),
        (edit(data_offsets=[0.0, 24.0]), "its structure is broken"),
        (edit(shape=[-2, -3]), "its structure is broken"),
        (edit(shape=[1 << 60, 1 << 60]), "another size than its shape says"),
        (edit(shape=["2", 3]), "its structure is broken"),
        (edit(dtype="F8_E4M3"), "stores a as F8_E4M3; give one of float32"),
        (edit(dtype=None), "stores a as None; give one"),
        (lambda header: header.update(a=[1]), "its structure is broken"),
        (lambda header: header["b"].update(data_offsets=[12, 36]), "values of two tensors overlap"),
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(
    change: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safe_file({"a": torch.rand(2, 3), "b": torch.rand(2, 3)}, change))
    assert words in refused(path)


@pytest.mark.parametrize("header", [b"{", b"[]", b"{" * 100_000, b"{}" + b" " * 50, b"\xff" * 20])
def test_safetensors_without_a_header_are_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    refused(path)
    path.write_bytes(struct.pack("<Q", 1 << 50) + b"{}" + bytes(64))
    refused(path)
