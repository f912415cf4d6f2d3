"""Networks of a user's own: found by name, between the task's zoom, unzoom and decode."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lzu_export.compiler.fingerprint import fingerprint
from lzu_export.errors import LzuError
from lzu_export.recipes import Recipe
from lzu_export.tasks import custom
from lzu_export.tasks.custom import builder_digest, find_builder, register_model
from lzu_export.tasks.pytorch import assemble
from lzu_export.tasks.warps import make_warp
from samples import tiny_recipe


class OwnDetector(nn.Module):
    """Three levels of strides 8, 16 and 32, and one convolution as head."""

    def __init__(self, recipe: Any) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        anchors = recipe.model.per_cell
        self.cls = nn.Conv2d(8, anchors * recipe.model.num_classes, 1)
        self.box = nn.Conv2d(8, anchors * 4, 1)

    def extract(self, image: Tensor) -> list[Tensor]:
        levels = [self.stem(image)]
        for down in self.down:
            levels.append(down(levels[-1]))
        return levels

    def head(self, levels: list[Tensor]) -> list[list[Tensor]]:
        return [[layer(level) for level in levels] for layer in (self.cls, self.box)]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing registered here stays."""
    monkeypatch.setattr(custom, "_registered", {})
    return


def own_recipe(folder: Path, **changes: Any) -> Recipe:
    return tiny_recipe(folder, custom_model="own", **changes)


@pytest.mark.parametrize("variant", ["fixed", "uniform"])
def test_a_detector_of_ones_own(variant: str, tmp_path: Path) -> None:
    """It takes RetinaNet's place: every probe point is present, and boxes come out."""
    register_model("own", OwnDetector)
    recipe = own_recipe(tmp_path, variant=variant)
    model = assemble(recipe, make_warp(recipe), from_source=True)
    assert isinstance(model.model, OwnDetector)
    values = model(torch.zeros(1, *recipe.source, 3, dtype=torch.uint8))
    found = dict(zip(model.output_names, values, strict=True))
    assert ("unzoomed_2" in found) == (variant == "fixed")
    assert found["boxes"].shape[2] == 4
    sizes = [tuple(found[f"level_{i}"].shape[2:]) for i in range(3)]
    assert sizes == [level.size for level in recipe.levels]


def test_its_checkpoint_is_loaded_by_its_own_names(tmp_path: Path) -> None:
    register_model("own", OwnDetector)
    recipe = own_recipe(tmp_path)
    trained = OwnDetector(recipe)
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    recipe = own_recipe(tmp_path, checkpoint={"fixed": str(tmp_path / "own.pth")})
    model = assemble(recipe, make_warp(recipe), from_source=True)
    np.testing.assert_array_equal(
        model.state_dict()["model.stem.weight"].numpy(), trained.stem.weight.detach().numpy()
    )


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    register_model("other", OwnDetector)
    recipe = own_recipe(tmp_path)
    with pytest.raises(LzuError, match=r"custom_model own is not known here, other is; call"):
        assemble(recipe, make_warp(recipe), from_source=True)
    with pytest.raises(LzuError, match="not known"):
        fingerprint(recipe)


def test_installed_packages_bring_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="own", load=lambda: OwnDetector)
    monkeypatch.setattr(custom, "entry_points", lambda group: [entry])
    assert find_builder("own") is OwnDetector


def test_a_package_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ImportError("no module named gone"), AttributeError("no attribute build")):

        def load(error: Exception = error) -> Any:
            raise error

        entry = SimpleNamespace(name="own", value="gone:build", load=load)
        monkeypatch.setattr(custom, "entry_points", lambda group, entry=entry: [entry])
        with pytest.raises(LzuError, match=r"custom_model own is announced .* gone:build does not"):
            find_builder("own")


def test_a_builder_has_to_be_in_a_file(tmp_path: Path) -> None:
    """For a functools.partial the file of its function counts."""
    recipe = own_recipe(tmp_path)
    register_model("own", OwnDetector)
    plain = builder_digest(recipe)
    register_model("own", partial(partial(OwnDetector)))
    assert builder_digest(recipe) == plain
    space: dict[str, Any] = {}
    for name in ("<stdin>", "<string>"):  # of a pipe, of python -c
        exec(compile("def build(recipe): return 1\n", name, "exec"), space)
        register_model("own", space["build"])
        with pytest.raises(LzuError, match="custom_model own is in no file"):
            builder_digest(recipe)
    register_model("own", len)  # type: ignore[arg-type]
    with pytest.raises(LzuError, match="custom_model own is in no file"):
        builder_digest(recipe)


def test_a_change_of_its_source_makes_a_bundle_stale(tmp_path: Path) -> None:
    assert builder_digest(tiny_recipe(tmp_path)) is None
    recipe, source = own_recipe(tmp_path), tmp_path / "own_source.py"
    digests = set()
    for text in ("def build(recipe): return 1\n", "def build(recipe): return 2\n"):
        source.write_text(text)
        space: dict[str, Any] = {}
        exec(compile(text, str(source), "exec"), space)
        register_model("own", space["build"])
        digests.add(builder_digest(recipe))
    assert len(digests) == 2
    assert None not in digests
