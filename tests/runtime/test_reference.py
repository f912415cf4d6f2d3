"""What `reference.npz` keeps, and how it fails."""

from pathlib import Path

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.runtime.compare import Scale
from lzu_export.runtime.reference import (
    SAMPLES,
    Reference,
    read_reference,
    subsample,
    write_reference,
)


def reference(seed: int) -> Reference:
    generator = np.random.default_rng(seed)
    return Reference(
        generator.integers(0, 256, (1, 4, 5, 3), dtype=np.uint8),
        {"cam2img": generator.random((1, 4, 4), np.float32)} if seed % 2 else {},
        {"level_0": generator.random(7, np.float32), "cls_10": generator.random(3, np.float32)},
        {"boxes": generator.random((1, 2, 4), np.float32)},
        selections={"selected_0": generator.integers(0, 9, (1, 5))},
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Batches come back in order, also more than nine of them, with their dtypes."""
    written = [reference(i) for i in range(11)]
    write_reference(tmp_path / "r.npz", written)
    read = read_reference(tmp_path / "r.npz")
    assert len(read) == 11
    for a, b in zip(written, read, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        assert b.frames.dtype == np.uint8
        assert list(a.probes) == list(b.probes)
        assert list(a.inputs) == list(b.inputs)
        for name, value in {**a.inputs, **a.probes, **a.outputs, **a.selections}.items():
            read_back = {**b.inputs, **b.probes, **b.outputs, **b.selections}
            np.testing.assert_array_equal(value, read_back[name])


def test_small_arrays_are_kept_whole() -> None:
    """A small array is stored flat, in memory order."""
    values = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(subsample(values), np.arange(24))


@pytest.mark.parametrize("shape", [(1, 64, 48, 80), (3, 100, 100), (SAMPLES + 1,)])
def test_large_arrays_are_thinned_evenly(shape: tuple[int, ...]) -> None:
    """At most SAMPLES values are kept, from all of the array and from all columns of its rows."""
    values = np.arange(np.prod(shape)).reshape(shape)
    kept = subsample(values)
    assert SAMPLES / 3 <= len(kept) <= SAMPLES
    assert len(set(np.diff(kept))) == 1
    assert kept[-1] > 0.99 * values.size
    if len(shape) == 4:
        assert set(kept % shape[-1]) == set(range(shape[-1]))


@pytest.mark.parametrize("damage", ["truncated", "text", "missing", "foreign", "flipped"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    """The error names the file, whatever the damage."""
    path = tmp_path / "reference.npz"
    write_reference(path, [reference(0)])
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_text("hello")
    elif damage == "missing":
        path.unlink()
    elif damage == "foreign":
        np.savez(path, something=np.zeros(2))
    else:
        middle = content.index(b"level_0.npy") + 40
        path.write_bytes(content[:middle] + b"\xff\x00\xff\x00" + content[middle + 4 :])
    with pytest.raises(
        LzuError, match=r"reference\.npz (is damaged|cannot be read).*; export or copy"
    ):
        read_reference(path)


@pytest.mark.parametrize(
    ("output", "usual", "strength"),
    [
        ("scores", Scale(0.8, 0.1), 0.4),
        ("scores", Scale(0.02, 0.01), 1.0),
        ("margins", Scale(9.0, 0.16), 0.25),
        ("labels", Scale(7.0, 7.0), 1.0),
    ],
)
def test_a_frame_of_next_to_nothing_is_faint(output: str, usual: Scale, strength: float) -> None:
    """A frame is faint if its values are tiny beside those of the bundle's own frames."""
    values = np.full((1, 4), 0.04, np.float32)
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    known = Reference(frames, {}, {}, {output: values}, {output: usual})
    assert known.strength() == pytest.approx(strength)
    assert Reference(frames, {}, {}, {output: values}).strength() == 1.0
