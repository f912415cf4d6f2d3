"""`lzu-export export MODULE:FUNCTION --recipe FILE`: a network of one's own from the command line.

What is wrong with it is said in one sentence on stderr, with status 2 and nothing half-written.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import lzu_export as lzu
from lzu_export.bundle.bundle import Bundle
from lzu_export.cli.network import builder_of, find_function, is_import_path
from lzu_export.tasks.pytorch import noise_frame
from samples import refusal, status_of

SOURCE = (48, 64)
MODULE = """
import numpy as np
import torch
from torch import nn

import lzu_export as lzu


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return {"maps": self.head(self.body(x))}


def build():
    return Net().train()


def for_recipe(recipe):
    assert recipe.task == "generic"
    return Net()


def wrapped():
    rows = np.linspace(-1, 1, 5)
    warp = lzu.FixedWarp.from_knots(rows ** 3, rows, source=(48, 64), scale=0.5)
    return lzu.wrap(Net(), warp, ["body"], phase={"body": [1.0]})


def broken():
    raise KeyError("weights")


def nothing():
    return "a text"


VALUE = 3
"""
RECIPE: dict[str, Any] = {
    "name": "mine",
    "task": "generic",
    "source": list(SOURCE),
    "scale": 0.5,
    "normalisation": {"order": "rgb", "mean": [100, 110, 120], "std": [60, 61, 62]},
    "model": {"unzoom": {"body": []}},
    "targets": ["onnxruntime"],
    "precision": ["fp32"],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the module `mynets`, a saliency and a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mynets.py").write_text(MODULE)
    (tmp_path / "unfit.py").write_text("import no_such_package\n")
    rows, columns = np.mgrid[0:7, 0:9]
    np.save(tmp_path / "map.npy", 0.1 + np.exp(-(((rows - 3) / 2) ** 2) - (columns - 5) ** 2 / 4))
    write(tmp_path)
    yield tmp_path
    for name in ("mynets", "unfit"):
        sys.modules.pop(name, None)


def write(folder: Path, **changes: Any) -> str:
    """Write the recipe with other keys; return the name of its file."""
    warp = {"saliency": str(folder / "map.npy"), "lattice": [7, 9], "fwhm": 3}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**RECIPE, "warp": warp, **changes}))
    return "mine.yaml"


Said = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Said:
    """Run an export that must be refused; return its sentence."""

    def run(what: str, *more: str) -> str:
        capfd.readouterr()
        status = status_of("export", what, "--out", "build", *more)
        captured = capfd.readouterr()
        assert status == 2
        assert captured.out == ""
        assert "Traceback" not in captured.err
        lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, captured.err
        assert list(Path("build").glob("generic/[!.]*")) == []
        assert not Path("build/inputs").exists()
        return lines[0]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("function", ["build", "for_recipe", "wrapped"])
def test_a_function_s_network_is_exported_run_and_found_up_to_date(
    function: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["export", f"mynets:{function}", "--recipe", "mine.yaml", "--out", "build"]
    assert status_of(*words) == 0
    (folder,) = Path("build/generic").glob("[!.]*")
    places = Bundle(folder).recipe.model.unzoom["body"]
    assert [(each.stride, each.size) for each in places] == [(4, (8, 8))]
    # The wrapped one has a phase that was given by hand, and knots of its own.
    assert places[0].phase == ((1.0, 1.0) if function == "wrapped" else (1.5, 1.5))
    x = Bundle(folder).warp["knots_x"]
    assert (len(x) == 5) == (function == "wrapped")
    cv2.imwrite("frame.png", noise_frame(SOURCE, 1))
    capfd.readouterr()
    assert status_of("run", str(folder), "frame.png", "--out", "results") == 0
    (file,) = Path("results").rglob("*.npz")
    with np.load(file) as stored:
        found = dict(stored)
    frame = cv2.imread("frame.png")
    np.testing.assert_allclose(found["maps"], lzu.load(folder)(frame)["maps"], atol=1e-6)
    assert found["maps"].shape == (2, 8, 8)
    capfd.readouterr()
    assert status_of(*words) == 0
    assert "up to date" in capfd.readouterr().err


def test_a_network_needs_its_recipe_and_a_recipe_no_network(refused: Said) -> None:
    assert "mynets:build is a network, which needs its recipe: add" in refused("mynets:build")
    said = refused("mine.yaml", "--recipe", "mine.yaml")
    assert "--recipe mine.yaml is the recipe of a network, but mine.yaml is not" in said
    for more in ([], ["--random-weights", "0"]):
        said = refused("mine.yaml", *more)
        assert "recipe mine of task generic names no network; export it by lzu-export" in said


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nomodule:build", "module nomodule of nomodule:build does not import (ModuleNotFound"),
        ("unfit:build", "module unfit of unfit:build does not import (ModuleNotFoundError: No"),
        ("mynets:biuld", "module mynets has no biuld; name the function that builds it"),
        ("mynets:Net.nothing", "module mynets has no Net.nothing"),
        ("mynets:VALUE", "mynets:VALUE is int, which cannot be called"),
        ("mynets:nothing", "the function of mynets:nothing returns str, which is no"),
        ("mynets:broken", "the function of mynets:broken failed (KeyError: 'weights')"),
    ],
)
def test_a_function_that_gives_no_network_is_refused(what: str, said: str, refused: Said) -> None:
    assert said in refused(what, "--recipe", "mine.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"unzoom": {"bdy": []}}}, "Net has no submodule 'bdy'; did you mean body?"),
        ({"model": {"unzoom": {"body": [], "head": []}}}, "head is computed from what is unzoomed"),
        ({"model": {"image": "picture"}}, "forward of Net has no argument picture; it has x"),
        ({"model": {"unzoom": {"body": []}, "outputs": ["map"]}}, "Net returns no map; it returns"),
        ({"model": {"unzoom": ["body"]}}, "model.unzoom"),
        ({"source": [48]}, "source"),
        ({"warp": {"knots": "none.npz"}}, "none.npz"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    changes: dict[str, Any], said: str, here: Path, refused: Said
) -> None:
    write(here, **changes)
    assert said in refused("mynets:build", "--recipe", "mine.yaml")


EVEN = np.linspace(-1, 1, 5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"knots_x": EVEN}, "knots are named knots_x; give knots_x and knots_y"),
        ({}, "knots are named nothing"),
        ({"knots_x": EVEN[::-1], "knots_y": EVEN}, "knots_x decrease somewhere"),
        ({"knots_x": EVEN * np.nan, "knots_y": EVEN}, "knots_x hold NaN or infinite values"),
        ({"knots_x": EVEN * 64, "knots_y": EVEN}, "knots_x reach from -64 to 64; give positions"),
        ({"knots_x": EVEN.astype(str), "knots_y": EVEN}, "holds knots_x of type <U"),
        ({"knots": np.stack(np.meshgrid(EVEN, EVEN), -1)}, "set warp.separable to false"),
    ],
)
def test_a_file_of_knots_that_does_not_fit_is_refused(
    arrays: dict[str, Any], said: str, here: Path, refused: Said
) -> None:
    np.savez(here / "knots.npz", other=np.zeros(3), **arrays)
    write(here, warp={"knots": str(here / "knots.npz")})
    assert said in refused("mynets:build", "--recipe", "mine.yaml")


def test_a_file_of_knots_that_is_none_is_refused(here: Path, refused: Said) -> None:
    (here / "knots.npz").write_bytes(b"PK\x03\x04 no archive")
    write(here, warp={"knots": str(here / "knots.npz")})
    assert "knots.npz" in refused("mynets:build", "--recipe", "mine.yaml")


def test_import_paths_are_told_from_recipes_and_files(here: Path) -> None:
    for text in ("mynets:build", "a.b.c:D.e", "_a:_b"):
        assert is_import_path(text)
    for text in ("det", "mine.yaml", "a/b:c", "a:", ":b", "a:b:c", "C:\\x", "1a:b", "a-b:c"):
        assert not is_import_path(text)
    (here / "odd:name").write_text("")
    assert not is_import_path("odd:name")


def test_functions_take_the_recipe_or_nothing() -> None:
    taken: list[Any] = []

    def one(recipe: Any) -> int:
        taken.append(recipe)
        return 1

    def none(size: int = 3, **more: Any) -> int:
        return size

    assert builder_of(one)("recipe") == 1
    assert taken == ["recipe"]
    assert builder_of(none)("recipe") == 3
    assert find_function("mynets:Net").__name__ == "Net"
    assert "does not import" in refusal(lambda: find_function("no.such:thing"))
