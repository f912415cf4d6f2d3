"""Saliency from boxes, from semantic boundaries and from files, and what is refused."""

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lzu_export.errors import LzuError
from lzu_export.warp.boundary_saliency import (
    boundary_density,
    boundary_saliency,
    density_saliency,
    mean_boundary_saliency,
)
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.saliency import (
    check_saliency,
    marginals,
    mix,
    softmax_saliency,
    uniform_saliency,
)
from lzu_export.warp.saliency_file import load_saliency

SOURCE, LATTICE = (1200, 1920), (31, 51)

coordinates = st.floats(-100, 2000)
boxes = arrays.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=coordinates)


def test_uniform() -> None:
    saliency = uniform_saliency((3, 4))
    assert saliency.shape == (3, 4)
    np.testing.assert_allclose(saliency, 1 / 12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 0.0], [1.0, 1.0]], r"the map holds 1 values that are not above zero.*floor"),
        ([[1.0, -2.0], [1.0, 1.0]], r"the map holds 1 values.*smallest -2.*floor"),
        ([[1.0, np.nan], [1.0, np.inf]], r"the map holds 2 NaN or infinite values; replace"),
        ([1.0, 2.0], r"the map has shape \(2,\); give it two axes"),
        ([[1.0, 2.0]], r"the map has shape \(1, 2\); give it two axes"),
        ([["a", "b"], ["c", "d"]], r"the map is not an array of real numbers"),
        ([[1j, 1j], [1j, 1j]], r"the map is not an array of real numbers"),
        ([[1.0, 2.0], [1.0]], r"the map is not an array of real numbers"),
    ],
)
def test_bad_saliency_is_refused_by_name(values: list, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        check_saliency(values, name="the map")


def test_saliency_off_its_lattice_is_refused() -> None:
    with pytest.raises(LzuError, match=r"shape \(2, 3\) but the lattice is \(3, 2\)"):
        check_saliency(np.ones((2, 3)), lattice=(3, 2))


def test_leading_axes_of_one_are_dropped() -> None:
    assert check_saliency(np.ones((1, 1, 2, 3), np.float32), lattice=(2, 3)).dtype == np.float64


@settings(deadline=None)
@given(boxes=boxes, amplitude=st.floats(0, 5), bandwidth=st.floats(1, 500))
def test_any_boxes_give_a_positive_map_that_sums_to_1(
    boxes: np.ndarray, amplitude: float, bandwidth: float
) -> None:
    saliency = box_saliency(boxes, SOURCE, LATTICE, amplitude=amplitude, bandwidth=bandwidth)
    assert saliency.shape == LATTICE
    assert (saliency > 0).all()
    assert saliency.sum() == pytest.approx(1)


def test_box_saliency_peaks_at_the_box() -> None:
    saliency = box_saliency([[900, 300, 1020, 420]], SOURCE, LATTICE)
    row, column = np.unravel_index(saliency.argmax(), LATTICE)
    assert abs(row - 360 / 1200 * 30) <= 0.5
    assert abs(column - 960 / 1920 * 50) <= 0.5


@pytest.mark.parametrize("nothing", [np.zeros((0, 4)), []])
def test_without_boxes_the_map_is_uniform(nothing: np.ndarray) -> None:
    np.testing.assert_array_equal(box_saliency(nothing, SOURCE, LATTICE), uniform_saliency(LATTICE))
    s_x, s_y = marginals(box_saliency(nothing, SOURCE, LATTICE))
    np.testing.assert_allclose(s_x, 1 / 51)
    np.testing.assert_allclose(s_y, 1 / 31)


def test_empty_boxes_spread_like_one_pixel() -> None:
    point = box_saliency([[5, 5, 5, 5], [9, 9, 4, 4]], SOURCE, LATTICE)
    assert np.isfinite(point).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2, 3]], SOURCE, LATTICE), r"boxes have shape \(1, 3\)"),
        (([[1, 2, 3, np.nan]], SOURCE, LATTICE), "boxes hold NaN"),
        (([[1, 2, 3, 4]], (0, 5), LATTICE), "source_size"),
        (([[1, 2, 3, 4]], SOURCE, (1, 5)), "lattice"),
    ],
)
def test_bad_boxes_are_refused_by_name(arguments: tuple, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        box_saliency(*arguments)


def test_bad_kernel_is_refused_by_name() -> None:
    with pytest.raises(LzuError, match="amplitude"):
        box_saliency([], SOURCE, LATTICE, amplitude=-1.0)
    with pytest.raises(LzuError, match="bandwidth"):
        box_saliency([], SOURCE, LATTICE, bandwidth=0.0)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(2, 8), st.integers(2, 8)),
        elements=st.floats(-50, 50, width=32),
    )
)
def test_logits_become_their_softmax_over_all_cells(logits: np.ndarray) -> None:
    """As torch's, whatever is added to all of them."""
    saliency = softmax_saliency(logits, lattice=logits.shape)
    expected = torch.softmax(torch.from_numpy(logits).flatten(), 0).reshape(logits.shape)
    np.testing.assert_allclose(saliency, expected, atol=1e-6)
    assert (saliency > 0).all()
    assert saliency.sum() == pytest.approx(1)
    moved = softmax_saliency(logits.astype(float) + 1e3, logits.shape)
    np.testing.assert_allclose(moved, saliency, rtol=1e-9)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (np.zeros((2, 2)), r"the logits has shape \(2, 2\) but the lattice is \(2, 3\)"),
        (np.zeros(6), "give it two axes"),
        (np.full((2, 3), np.nan), "holds 6 NaN or infinite values"),
        (np.array([[0, 0, np.inf], [0, 0, 0]]), "holds 1 NaN or infinite values"),
        (np.array([[0, 0, 800.0], [0, 0, 0]]), "spans 800, so that some shares"),
    ],
)
def test_bad_logits_are_refused_by_name(logits: np.ndarray, words: str) -> None:
    with pytest.raises(LzuError, match=words) as caught:
        softmax_saliency(logits, lattice=(2, 3), name="the logits")
    assert "\n" not in str(caught.value)


def test_mix() -> None:
    fixed, adaptive = uniform_saliency((2, 3)), np.array([[1, 2, 3], [4, 5, 6]]) / 21
    np.testing.assert_allclose(mix(fixed, adaptive, 0.25), 0.75 * fixed + 0.25 * adaptive)
    with pytest.raises(LzuError, match="divide each by its sum"):
        mix(fixed, 21 * adaptive, 0.5)
    with pytest.raises(LzuError, match=r"alpha is 1\.5"):
        mix(fixed, adaptive, 1.5)
    with pytest.raises(LzuError, match="one lattice"):
        mix(fixed, adaptive.T, 0.5)


# --- semantic boundaries --------------------------------------------------------------------------


def boundary_by_hand(labels: np.ndarray, ignore: int | None = None) -> np.ndarray:
    mask = np.zeros(labels.shape, bool)
    for i, j in np.ndindex(labels.shape):
        near = labels[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        differs = near != labels[i, j]
        if ignore is not None:
            differs = differs & (near != ignore) & (labels[i, j] != ignore)
        mask[i, j] = differs.any()
    return mask


@settings(deadline=None)
@given(
    labels=arrays.arrays(
        np.int64, st.tuples(st.integers(2, 9), st.integers(2, 9)), elements=st.integers(0, 2)
    ),
    ignore=st.sampled_from([None, 0, 2]),
)
def test_boundaries_are_those_of_eight_neighbours(labels: np.ndarray, ignore: int | None) -> None:
    expected = np.where(boundary_by_hand(labels, ignore), 1.0, 0.1)
    # With one lattice cell a pixel, pooling does nothing.
    saliency = boundary_saliency(labels, labels.shape, ignore=ignore)
    np.testing.assert_allclose(saliency, expected / expected.sum())


def test_boundaries_are_averaged_over_cells() -> None:
    labels = np.zeros((12, 8), np.uint8)
    labels[:6] = 1
    saliency = boundary_saliency(labels, (4, 2), boundary=1.0, background=0.1)
    rows = np.array([0.1, (1.0 + 0.1 * 2) / 3, (1.0 + 0.1 * 2) / 3, 0.1])
    np.testing.assert_allclose(saliency, np.repeat(rows[:, None] / rows.sum() / 2, 2, axis=1))


def test_cells_that_split_pixels_share_them_by_area() -> None:
    labels = np.zeros((5, 2), int)
    labels[:2] = 1  # boundary rows are 1 and 2; cells are 2.5 rows high
    saliency = boundary_saliency(labels, (2, 2), boundary=1.0, background=0.2)
    cells = np.array([0.2 + 1.0 + 0.5, 0.5 + 0.2 * 2])
    np.testing.assert_allclose(saliency[:, 0], cells / cells.sum() / 2)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((4, 4)), {}, "labels are float64"),
        (np.zeros((4, 4, 3), int), {}, "labels are int64 of shape"),
        (np.zeros((1, 4), int), {}, "less than the lattice"),
        (np.zeros((4, 4), int), {"background": 0.0}, "background is 0.0"),
        (np.zeros((4, 4), int), {"boundary": np.nan}, "boundary is nan"),
    ],
)
def test_bad_labels_are_refused_by_name(labels: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(LzuError, match=message):
        boundary_saliency(labels, (2, 2), **options)


# --- files ----------------------------------------------------------------------------------------


class _NamingPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes names of modules that need not exist here, as the public pickler would not."""

    def save_name(self, module: str, name: str) -> None:
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())


def legacy_storage(values: np.ndarray, count: int | None = None, kind: str = "Float") -> bytes:
    """Lay out torch's legacy storage file, as in the released saliency."""

    def pickled(value: object) -> bytes:
        return pickle.dumps(value, protocol=2)

    stream = io.BytesIO()
    for value in (
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}},
    ):
        stream.write(pickled(value))
    storage = io.BytesIO()
    pickler = _NamingPickler(storage, protocol=2)
    pickler.write(pickle.PROTO + b"\x02" + pickle.MARK)
    pickler.save("storage")
    pickler.save_name("torch", f"{kind}Storage")
    for value in ("94344707875072", "cpu", values.size, None):
        pickler.save(value)
    pickler.write(pickle.TUPLE + pickle.BINPERSID + pickle.STOP)
    stream.write(storage.getvalue())
    stream.write(pickled(["94344707875072"]))
    stream.write(struct.pack("<q", values.size if count is None else count))
    stream.write(values.tobytes())
    return stream.getvalue()


def pickled_tensor(
    blob: bytes, shape: tuple[int, ...], strides: tuple[int, ...], call: str = "_rebuild_tensor_v2"
) -> bytes:
    """Lay out a pickled tensor around its storage, as in the released saliency."""
    stream = io.BytesIO()
    pickler = _NamingPickler(stream, protocol=3)
    pickler.write(pickle.PROTO + b"\x03")
    pickler.save_name("torch._utils", call)
    pickler.write(pickle.MARK)
    pickler.save_name("torch.storage", "_load_from_bytes")
    pickler.save(blob)
    pickler.write(pickle.TUPLE1 + pickle.REDUCE)
    for value in (0, shape, strides, False):
        pickler.save(value)
    pickler.save_name("collections", "OrderedDict")
    pickler.write(pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE + pickle.STOP)
    return stream.getvalue()


VALUES = np.linspace(0.1, 2.0, 12, dtype=np.float32)


def test_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "saliency.npy"
    np.save(path, VALUES.reshape(3, 4))
    np.testing.assert_array_equal(load_saliency(path, (3, 4)), VALUES.reshape(3, 4))
    with pytest.raises(LzuError, match=r"saliency in saliency.npy has shape \(3, 4\)"):
        load_saliency(path, (4, 3))


def test_npy_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "saliency.npy"
    np.save(path, np.array([[1, 2], [3, None]], dtype=object), allow_pickle=True)
    with pytest.raises(LzuError, match="damaged"):
        load_saliency(path)


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (1, 1, 3, 4)])
@pytest.mark.parametrize(("kind", "dtype"), [("Float", "<f4"), ("Double", "<f8"), ("Half", "<f2")])
def test_released_format(tmp_path: Path, shape: tuple[int, ...], kind: str, dtype: str) -> None:
    path = tmp_path / "saliency.pkl"
    strides = (12, 12, 4, 1)[-len(shape) :]
    values = VALUES.astype(dtype)
    path.write_bytes(pickled_tensor(legacy_storage(values, kind=kind), shape, strides))
    np.testing.assert_array_equal(load_saliency(path, (3, 4)), values.reshape(3, 4))


def test_released_format_as_torch_writes_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "saliency.pkl"
    tensor = torch.from_numpy(VALUES.reshape(1, 1, 3, 4).copy())
    for protocol in (3, 4, 5):
        path.write_bytes(pickle.dumps(tensor, protocol=protocol))
        np.testing.assert_array_equal(load_saliency(path), VALUES.reshape(3, 4))


def test_pickles_are_never_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "saliency.pkl"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(LzuError, match=r"saliency.pkl is neither .npy nor"):
        load_saliency(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "pickle exhausted"),
        (b"hello", "neither"),
        (pickle.dumps([1.0, 2.0]), "0 storages"),
        (pickled_tensor(legacy_storage(VALUES), (3, 4), (4, 1), "_other"), "not a torch tensor"),
        (pickled_tensor(b"junk", (3, 4), (4, 1)), "neither"),
        (pickled_tensor(legacy_storage(VALUES), (3, 5), (5, 1)), "too short"),
        (pickled_tensor(legacy_storage(VALUES), (3, 4), (1, 3)), "contiguous"),
        (pickled_tensor(legacy_storage(VALUES), (3, 4), (4,)), "differ in length"),
        (pickled_tensor(legacy_storage(VALUES, count=11), (3, 4), (4, 1)), "contradicts"),
        (pickled_tensor(legacy_storage(VALUES)[:-4], (3, 4), (4, 1)), "44 bytes for 12"),
        (pickled_tensor(legacy_storage(VALUES, kind="Int"), (3, 4), (4, 1)), "IntStorage"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "saliency.pkl"
    path.write_bytes(content)
    with pytest.raises(LzuError, match=reason):
        load_saliency(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match="cannot be read"):
        load_saliency(tmp_path / "nothing.npy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pickletools")
@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_any_corruption_is_refused_or_read_as_numbers(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: int
) -> None:
    content = bytearray(pickled_tensor(legacy_storage(VALUES), (3, 4), (4, 1)))
    content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "corrupt.pkl"
    path.write_bytes(bytes(content[: len(content) - max(0, cut - 20)]))
    try:
        saliency = load_saliency(path)
    except LzuError:
        return
    assert np.isfinite(saliency).all()
    assert (saliency > 0).all()


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """Its opcodes are listed up to a bound only."""
    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x04" + b"N" * 1_000_000 + b".")
    with pytest.raises(LzuError, match="more opcodes than a saliency has"):
        load_saliency(path)


label_maps = arrays.arrays(np.int64, st.tuples(st.just(3), st.just(7), st.just(9)),
                           elements=st.integers(0, 3))  # fmt: skip


@given(maps=label_maps, boundary=st.floats(0.01, 5), background=st.floats(0.01, 5))
@settings(max_examples=40, deadline=None)
def test_a_saliency_of_several_maps_is_the_mean_of_theirs(
    maps: np.ndarray, boundary: float, background: float
) -> None:
    """Densities that are read once give it for any intensities."""
    given_ = {"boundary": boundary, "background": background}
    expected = np.mean(
        [
            np.where(boundary_by_hand(each, 3), boundary, background)
            / np.where(boundary_by_hand(each, 3), boundary, background).sum()
            for each in maps
        ],
        axis=0,
    )
    densities = [boundary_density(each, (7, 9), ignore=3) for each in maps]
    np.testing.assert_allclose(density_saliency(densities, **given_), expected, rtol=1e-12)
    mean = mean_boundary_saliency(maps, (7, 9), ignore=3, **given_)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_no_label_maps_make_no_saliency() -> None:
    with pytest.raises(LzuError, match="there are no label maps to make a saliency from"):
        density_saliency([])
