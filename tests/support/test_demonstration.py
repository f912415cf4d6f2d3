"""Recipes of the demonstration find its files in a checkout, installed, or say what to install."""

from pathlib import Path

import pytest

from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.recipes import list_recipes, load_recipe
from lzu_export.support import checkout
from lzu_export.support.demonstration import demonstration_file
from lzu_export.warp.saliency_file import load_saliency

REPOSITORY = Path(__file__).resolve().parents[2]
REMEDY = r"does not exist; pip install 'lzu-export\[demo\]'$"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder of installed packages that has this package without the demonstration."""
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path / "packages")
    return tmp_path / "packages"


def test_a_checkout_needs_no_installation() -> None:
    """Every file that a shipped recipe names is in the repository."""
    named = [
        path
        for recipe in map(load_recipe, list_recipes())
        for path in (recipe.warp.saliency, *recipe.checkpoint.values())
        if path is not None
    ]
    assert len(named) == 11
    for path in named:
        assert path.is_file()
        assert path.is_relative_to(REPOSITORY / "benchmarks" / "demo")


def test_an_installed_demonstration_is_found(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in another folder of packages, such as a user's own beside the system's."""
    file = tmp_path / "elsewhere" / "lzu_export_demo" / "det" / "fixed.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    (file.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert demonstration_file("det/fixed.pth") == file
    assert load_recipe("det").checkpoint["fixed"] == file


def test_without_the_demonstration_its_extra_is_named(installed: Path, tmp_path: Path) -> None:
    """Before any work; recipes themselves still load, since their weights may be replaced."""
    assert demonstration_file("det") == installed / "lzu_export_demo" / "det"
    with pytest.raises(LzuError, match=rf"checkpoint .*fixed\.pth {REMEDY}"):
        export(load_recipe("det"), tmp_path / "build")
    untrained = {"checkpoint": {}, "random_weights": 0}
    with pytest.raises(LzuError, match=rf"saliency .*saliency\.npy {REMEDY}"):
        export(load_recipe("det", untrained), tmp_path / "build")
    with pytest.raises(LzuError, match=r"cannot be read .*; pip install 'lzu-export\[demo\]'$"):
        load_saliency(demonstration_file("seg/saliency.npy"))
    assert not (tmp_path / "build").exists()


def test_other_missing_files_have_their_own_remedy(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"check the path of the saliency$"):
        load_saliency(tmp_path / "mine.npy")
