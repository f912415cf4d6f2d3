"""The warp of a bundle for programs without NumPy."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import FILE, read_manifest
from lzu_export.runtime import load
from lzu_export.verification.verify import verify
from samples import write_sealed

NAME = "warp.safetensors"


@pytest.mark.parametrize("task", ["tiny_bundle", "tiny_seg_bundle"])
def test_it_holds_the_arrays_of_the_archive_and_the_recipe_s_sizes(
    task: str, request: pytest.FixtureRequest
) -> None:
    bundle = Bundle(request.getfixturevalue(task))
    content = bundle.file(NAME).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    notes = {name: text.split() for name, text in header.pop("__metadata__").items()}
    assert notes["source"] == ["96", "160"]
    assert notes["canvas"] == ["48", "80"]
    assert notes["network_input"] == ["64", "96"]
    assert [float(each) for each in notes["canvas_step"]] == list(bundle.recipe.canvas_step)
    assert set(header) == set(bundle.warp)
    for name, array in bundle.warp.items():
        first, last = header[name]["data_offsets"]
        assert header[name]["dtype"] == {"float64": "F64", "float32": "F32"}[array.dtype.name]
        assert header[name]["shape"] == list(array.shape)
        assert values[first:last] == np.ascontiguousarray(array).tobytes()


def test_a_bundle_of_an_earlier_release_has_none(bundle: Path) -> None:
    """It opens, and passes the comparison with PyTorch."""
    data = json.loads((bundle / FILE).read_text())
    del data["files"][NAME]
    (bundle / NAME).unlink()
    write_sealed(bundle, data)
    assert NAME not in read_manifest(bundle).files
    with load(bundle) as predictor:
        assert predictor.classes == ("car", "sign")
    (parity,) = verify(bundle)
    assert parity.status == "passed"


def test_a_start_on_a_device_does_not_read_it_but_verify_does(bundle: Path) -> None:
    with (bundle / NAME).open("ab") as stream:
        stream.write(b" ")
    load(bundle).close()
    with pytest.raises(LzuError, match=f"{NAME} was changed after the export"):
        verify(bundle)
