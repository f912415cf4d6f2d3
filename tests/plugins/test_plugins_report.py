"""The tables of computed bounds in the plugins' README are what the command computes."""

from collections.abc import Iterable

import pytest
from toolchain import cuda_home, tool

from lzu_benchmarks.machine_code import table
from lzu_benchmarks.machine_code.bounds import Bound
from lzu_benchmarks.machine_code.camera_launches import antialiased_cameras, cameras
from lzu_benchmarks.machine_code.cards import CARDS
from lzu_benchmarks.machine_code.launches import (
    FORMATS,
    KERNELS,
    RECIPES,
    Launch,
    tiles,
    unzooms,
)
from lzu_benchmarks.machine_code.other_launches import box_knots, suppressions
from lzu_benchmarks.machine_code.toolkit import PACKAGES, Toolkit
from lzu_benchmarks.studies.plugins_report import (
    END,
    README,
    RELEASE,
    START,
    blocks,
    put,
    put_rows,
)
from lzu_export.errors import LzuError
from lzu_export.recipes.load import FOLDER


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> table.Kernels:
    """Machine code of the kernels by the release that the tables are of, or a skip."""
    nvdisasm, cuobjdump = (
        tool(name, package)
        for name, package in zip(("nvdisasm", "cuobjdump"), PACKAGES, strict=True)
    )
    toolkit = Toolkit(str(cuda_home() / "bin/nvcc"), nvdisasm, cuobjdump)
    if toolkit.release() != RELEASE:
        pytest.skip(f"nvcc is of release {toolkit.release()}; the tables are of {RELEASE}")
    return table.Kernels(toolkit, tmp_path_factory.mktemp("machine-code"))


@pytest.mark.slow
def test_the_readme_shows_what_the_command_computes(kernels: table.Kernels) -> None:
    text = README.read_text(encoding="utf-8")
    for name, block in blocks(kernels).items():
        assert f"{START.format(name)}\n{block}\n{END}" in text, "run make plugins-report"


@pytest.mark.parametrize(
    ("kernel", "recipe", "most"),
    [
        *(("unzoom FP16 kHWC8", recipe, 1.15) for recipe in table.LARGE),
        *(("unzoom INT8 kCHW32", recipe, 1.3) for recipe in table.LARGE),
        *(("unzoom INT8 kCHW4", recipe, 1.3) for recipe in table.LARGE),
    ],
)
def test_no_pipe_of_an_agx_orin_holds_the_unzoom_up(
    kernel: str, recipe: str, most: float, kernels: table.Kernels
) -> None:
    """A pipe is busy for at most so many times as long as the memory needs for the bytes."""
    tactics = [each for each in unzooms([recipe]) if each.kernel == kernel]
    best, bound = kernels.best(tactics, CARDS[0])
    assert CARDS[0].name == "AGX Orin"
    assert bound.busy <= most * bound.floor, bound
    assert best.compiled.local == 0, "spills"
    assert best.walk.in_flight >= 4, "the loads of the four taps wait for one another"


def bounds(launches: Iterable[Launch], kernels: table.Kernels) -> dict[str, Bound]:
    """Return the bounds of launches on an AGX Orin by the kernels' names."""
    return {each.kernel: kernels.best([each], CARDS[0])[1] for each in launches}


@pytest.mark.parametrize("recipe", table.LARGE)
def test_an_agx_orin_takes_frames_nearly_as_fast_as_its_memory_moves_them(
    recipe: str, kernels: table.Kernels
) -> None:
    """NV12 has half the bytes and more arithmetic, which instruction issue holds up."""
    found = bounds(cameras([recipe]), kernels)
    for kernel, most in (("BGR or RGB", 0.65), ("NV12", 1.45)):
        bound = found[f"camera {kernel} to FP16"]
        assert bound.busy <= most * bound.floor, bound
        assert bound.binding != "latency", bound


@pytest.mark.parametrize("recipe", table.LARGE)
def test_antialiased_frames_cost_an_agx_orin_no_more_than_it_says(
    recipe: str, kernels: table.Kernels
) -> None:
    """Output pixels share the picture's rows and columns, which are summed in two passes."""
    found = bounds(antialiased_cameras([recipe]), kernels)
    for kernel, most in (("BGR or RGB", 2.9), ("NV12", 3.5)):
        bound = found[f"camera {kernel} to FP16, antialiased"]
        assert bound.time <= most * bound.floor, bound


def test_an_agx_orin_derives_knots_in_20_microseconds(kernels: table.Kernels) -> None:
    for bound in bounds(box_knots(RECIPES), kernels).values():
        assert bound.time <= 20


def test_suppression_costs_an_agx_orin_no_more_than_it_says(kernels: table.Kernels) -> None:
    """Microseconds of all three kernels; plugins/README.md says what holds them up."""
    for candidates, most in ((1000, 26), (5000, 40)):
        found = bounds(suppressions([candidates]), kernels)
        assert len(found) == 3
        assert sum(each.time for each in found.values()) <= most


def test_every_kernel_and_every_shipped_recipe_is_reported() -> None:
    every = table.launches()
    assert {each.source for each in every} == {path.name for path in KERNELS.glob("*.cu")}
    assert set(RECIPES) == {path.stem for path in FOLDER.glob("*.yaml")}
    assert {each.shape for each in every if each.kernel.startswith("unzoom")} == set(RECIPES)


def test_the_cards_of_the_readme_are_those_of_the_bounds() -> None:
    assert table.cards_table() in README.read_text(encoding="utf-8")


def test_tactics_are_read_from_the_source() -> None:
    assert all(tiles(form) for form in FORMATS)


def test_a_page_without_a_place_for_a_table_is_named() -> None:
    page = f"before\n{START.format('bounds')}\nold\n{END}\nafter\n"
    assert put(page, "bounds", "new") == page.replace("old", "new")
    with pytest.raises(LzuError, match=r"README.md has no line .* code"):
        put(page, "code", "new")


def test_rows_of_some_kernels_replace_theirs_alone() -> None:
    head = "| kernel | shape | MB |\n|---|---|---:|\n"
    old = f"{head}| zoom | large | 1 |\n| zoom | small | 2 |\n| knots | small | 3 |"
    page = f"before\n{START.format('bounds')}\n{old}\n{END}\nafter\n"
    new = put_rows(page, "bounds", f"{head}| zoom | small | 7 |")
    assert new == page.replace("| zoom | small | 2 |", "| zoom | small | 7 |")
    with pytest.raises(LzuError, match=r"no row \| zoom \| tiny; leave out --kernel"):
        put_rows(page, "bounds", f"{head}| zoom | tiny | 7 |")
