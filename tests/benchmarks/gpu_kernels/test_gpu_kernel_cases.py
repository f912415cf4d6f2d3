"""The cases of `make test-gpu-kernels`: kernels in their build for the host in place of a card."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lzu_benchmarks.gpu_kernels import measure as module
from lzu_benchmarks.gpu_kernels.box_work import box_cases
from lzu_benchmarks.gpu_kernels.camera_work import camera_cases
from lzu_benchmarks.gpu_kernels.card import Card, Facts
from lzu_benchmarks.gpu_kernels.case import Case
from lzu_benchmarks.gpu_kernels.header import KERNELS, read_header
from lzu_benchmarks.gpu_kernels.measure import LAUNCHES, REPEATS, measure
from lzu_benchmarks.gpu_kernels.resampling import LAYOUTS, packed, resampling_cases, unpacked
from lzu_benchmarks.gpu_kernels.shapes import SHAPES, Shape
from lzu_export.errors import LzuError
from lzu_export.recipes import load_recipe

FACTS = Facts("Host", (0, 0), 4, 1 << 20, 1 << 30)
TINY = Shape(
    "tiny", (60, 90), (30, 50), (32, 64), (9, 13), 11, ((4, 8, 13), (16, 2, 4), (64, 1, 1))
)
"""Channels that fill no group, levels of a single row, and a canvas with padding."""


class HostCard(Card):
    """This processor in place of a card; events count instead of measuring."""

    device = "cpu"

    def __init__(self, library: Any) -> None:
        super().__init__(FACTS, library, read_header())
        self.recordings = 0
        self.clock = 0.0
        self.launched: list[tuple[int, int]] = []

    def stream(self) -> None:
        return None

    def launch(self, name: str, call: ctypes.Structure) -> None:
        super().launch(name, call)
        self.launched.append((getattr(call, "input", 0), getattr(call, "tactic", 0)))
        self.clock += 0.25

    def finish(self) -> None:
        pass

    def recorded(self, work: Any) -> tuple[Any, bool]:
        self.recordings += 1
        return work, True

    def milliseconds(self, work: Any) -> float:
        before = self.clock
        work()
        return self.clock - before


@pytest.fixture(scope="module")
def library() -> Any:
    """The host build of the kernels, which the tests of plugins use, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "plugins"))
        import host_kernels

    return host_kernels.library()


@pytest.fixture
def card(library: Any) -> HostCard:
    return HostCard(library)


def cases_of(card: Card) -> Iterator[Case]:
    yield from resampling_cases(card, (TINY,))
    yield from camera_cases(card, (TINY,))
    yield from box_cases(card, TINY, candidates=(40, 300))


def test_every_kernel_passes_with_every_tactic(card: HostCard) -> None:
    """And differs from the truths by rounding, not by nothing: they are computed differently."""
    results = [measure(card, case, timed=False) for case in cases_of(card)]
    assert len(results) == len(LAYOUTS) + 2 + 4 + 5
    for result in results:
        assert result.passed, result
        assert result.deviations["mathematics"] >= 0
        assert result.microseconds == {}
    by_name = {result.kernel: result for result in results}
    for name in ("unzoom FP32 linear", "zoom FP16", "camera NV12 to FP16", "invert warp"):
        assert by_name[name].deviations["mathematics"] > 0
    antialiased = {name for name in by_name if name.endswith("antialiased")}
    assert all(by_name[name].deviations["mathematics"] > 0 for name in antialiased)
    for name in ("suppression to 100", "feedback"):
        assert by_name[name].deviations == {"mathematics": 0}
    sampled = {name for name, each in by_name.items() if "grid_sample" in each.deviations}
    every = {each for each in by_name if each.startswith(("unzoom", "zoom", "camera"))}
    assert sampled == every - antialiased


@pytest.mark.parametrize("kernel", ["unzoom INT8 kCHW32", "zoom FP32", "suppression to 100"])
def test_a_wrong_kernel_fails(kernel: str, card: HostCard, monkeypatch: Any) -> None:
    """Whether it writes something else or nothing at all."""
    case = next(each for each in cases_of(card) if each.kernel == kernel)
    monkeypatch.setattr(HostCard, "launch", lambda *_: None)
    result = measure(card, case, timed=False)
    assert not result.passed
    assert result.deviations["mathematics"] > case.limit


def test_a_nan_is_no_agreement(card: HostCard) -> None:
    """It counts as infinitely far."""
    case = next(each for each in cases_of(card) if each.kernel == "zoom FP32")
    memory = case.make(torch.Generator().manual_seed(0))
    memory.values = lambda: [torch.full_like(memory.outputs[0], torch.nan)]
    assert module.check(card, case, memory, 0)["mathematics"] == torch.inf


def test_a_refused_launch_is_named(card: HostCard) -> None:
    """With the launcher and its code."""
    case = next(each for each in cases_of(card) if each.kernel == "zoom FP32")
    memory = case.make(torch.Generator().manual_seed(0))
    with pytest.raises(LzuError, match=r"lzu_zoom was not launched \(error -1\)"):
        card.launch("lzu_zoom", memory.call(10_000))


def test_inputs_rotate_through_more_than_the_cache(card: HostCard) -> None:
    """Each set as often as the others, and the time is one launch's by the events."""
    case = next(each for each in cases_of(card) if each.kernel == "zoom FP32")
    result = measure(card, case)
    assert result.beyond_cache
    assert result.sets * case.moved > FACTS.l2_bytes
    assert result.microseconds == dict.fromkeys(range(case.tactics), 250.0)
    assert result.best == (0, 250.0)
    assert result.graph
    assert card.recordings == case.tactics + 1  # and grid_sample's
    assert result.grid_sample_microseconds == 0  # it launches none of our kernels
    launched = card.launched[case.tactics :]  # behind one check of each tactic
    counts = {each: launched.count(each) for each in set(launched)}
    assert len(counts) == result.sets * case.tactics
    rounds = -(-LAUNCHES // result.sets)
    assert set(counts.values()) == {rounds * (1 + module.WARM_UP + REPEATS)}


def test_work_too_small_for_rotation_is_marked(card: HostCard, monkeypatch: Any) -> None:
    """Its inputs stay in the cache, however many sets there are."""
    monkeypatch.setattr(module, "MOST_SETS", 3)
    case = next(each for each in cases_of(card) if each.kernel == "feedback")
    result = measure(card, case)
    assert (result.sets, result.beyond_cache) == (4, False)


@pytest.mark.parametrize("layout", LAYOUTS, ids=[each.name for each in LAYOUTS])
def test_formats_are_laid_out_and_back(layout: Any) -> None:
    """With channels that fill no group."""
    tensor = torch.arange(2 * 37 * 3 * 5).reshape(2, 37, 3, 5).to(layout.dtype)
    memory = packed(tensor, layout)
    assert memory.is_contiguous()
    assert torch.equal(unpacked(memory, layout, 37), tensor)
    if layout.lanes:
        last = {8: 40, 4: 40, 32: 64}[layout.lanes]
        assert memory.numel() == 2 * last * 15


def test_shapes_are_the_recipes() -> None:
    """They are written down for machines that cannot read recipes."""
    for shape in SHAPES:
        recipe = load_recipe(shape.name, {})
        assert shape.view == recipe.view == recipe.picture
        assert (shape.canvas, shape.network_input) == (recipe.canvas, recipe.network_input)
        assert shape.lattice == recipe.warp.lattice
        assert shape.channels == recipe.model.fpn_channels
        assert shape.levels == tuple((each.stride, *each.size) for each in recipe.levels)
        assert recipe.unzoom_scale == 1


def test_structs_have_the_sizes_of_the_compiler(tmp_path: Path) -> None:
    """Every struct that a case fills."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    names = ("Unzoom", "Zoom", "Camera", "BoxKnots", "InvertWarp", "Suppress", "FeedBoxes")
    lines = [f"sizeof(struct Lzu{name})," for name in names]
    source = tmp_path / "sizes.cpp"
    source.write_text(
        '#include "lzu_kernels.h"\nextern "C" size_t const sizes[] = {' + "".join(lines) + "};\n"
    )
    built = tmp_path / "sizes.so"
    flags = ["-shared", "-fPIC", f"-I{KERNELS}", "-o", str(built)]
    subprocess.run([compiler, *flags, str(source)], check=True)
    sizes = (ctypes.c_size_t * len(names)).in_dll(ctypes.CDLL(str(built)), "sizes")
    header = read_header()
    assert list(sizes) == [ctypes.sizeof(header.struct(f"Lzu{name}")) for name in names]
    assert header.number("LZU_F16_HWC8") == 2
    assert header.number("LZU_MOST_LEVELS") == 8
