"""Arrays as safetensors: what a program without NumPy finds in the file."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lzu_export.support.files import write_tensors

NOTES = {"canvas": "48 80"}

numbers = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    max_size=5,
)


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the values of a file, by the steps of the format's description."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@given(numbers)
def test_the_file_gives_back_every_bit(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    write_tensors(path, values, NOTES)
    header, content = read(path)
    assert header.pop("__metadata__") == NOTES
    assert set(header) == set(values)
    end = 0
    for name, entry in header.items():  # in the order of the values, without a gap
        first, last = entry["data_offsets"]
        dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        assert first == end
        assert (path.stat().st_size - len(content) + first) % np.dtype(dtype).itemsize == 0
        found = np.frombuffer(content[first:last], dtype).reshape(entry["shape"])
        assert values[name].dtype == found.dtype
        assert values[name].tobytes() == found.tobytes()
        end = last
    assert end == len(content)


def test_a_transposed_array_is_written_row_by_row(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_tensors(tmp_path / "a.safetensors", {"x": array}, {})
    header, content = read(tmp_path / "a.safetensors")
    assert header["x"]["shape"] == [3, 2]
    assert np.frombuffer(content, "<f4").tolist() == [0, 3, 1, 4, 2, 5]


def test_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="int64"):
        write_tensors(tmp_path / "a.safetensors", {"x": np.arange(3)}, {})
    assert not list(tmp_path.iterdir())
