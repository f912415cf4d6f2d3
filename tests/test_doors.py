"""Every import in README and docs works, and the package's public names import no torch."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lzu_export

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs/examples").glob("*.py")),
]
PUBLIC = {
    "lzu_export": ["load", "export", "verify"],
    "lzu_export.compiler.pipeline": ["export"],
    "lzu_export.pipeline": ["export"],
    "lzu_export.recipes": ["load_recipe", "list_recipes", "Recipe"],
    "lzu_export.recipes.load": ["validate"],
    "lzu_export.runtime": ["load", "to_ego", "Detections", "Segmentation", "Detections3d"],
    "lzu_export.runtime.reference": ["read_reference"],
    "lzu_export.tasks.custom": ["register_model"],
    "lzu_export.tasks.training": ["training_record"],
    "lzu_export.tasks.warps": ["make_warp"],
}
"""Names that users may import, by module; they must not move."""


def documented() -> list[tuple[str, str]]:
    """Return (module, name) of each import from this project on the pages."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for module, names in re.findall(r"^from (lzu_\S+) import (.+)$", text, re.MULTILINE):
            found |= {(module, name.strip()) for name in names.split(",")}
        for dotted in re.findall(r"`(lzu_export(?:\.\w+)+)`", text):
            module, _, name = dotted.rpartition(".")
            found.add((module, name))
    return sorted(found)


IMPORTS = documented()


@pytest.mark.parametrize(("module", "name"), IMPORTS, ids=[".".join(each) for each in IMPORTS])
def test_what_the_pages_import_exists(module: str, name: str) -> None:
    try:
        found = hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        found = False
    if not found:  # then it is a module, or a group of entry points
        assert importlib.util.find_spec(f"{module}.{name}") or _is_a_group(f"{module}.{name}")


def _is_a_group(name: str) -> bool:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    sources = "".join(path.read_text("utf-8") for path in REPOSITORY.glob("lzu_export/**/*.py"))
    return f'entry-points."{name}"' in project or f'"{name}"' in sources


@pytest.mark.filterwarnings("ignore:lzu_export.pipeline is:DeprecationWarning")
@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay(module: str) -> None:
    for name in PUBLIC[module]:
        assert callable(getattr(importlib.import_module(module), name)), name


def test_the_doors_are_those_behind_them() -> None:
    from lzu_export.bundle.load import load
    from lzu_export.compiler.door import export
    from lzu_export.verification.verify import verify
    from lzu_export.warp.fixed_warp import FixedWarp
    from lzu_export.wrapping.calls import Call
    from lzu_export.wrapping.learned import LearnedWarp
    from lzu_export.wrapping.suggest import suggest
    from lzu_export.wrapping.wrap import unwrap, wrap

    assert (lzu_export.wrap, lzu_export.unwrap, lzu_export.suggest) == (wrap, unwrap, suggest)
    assert (lzu_export.FixedWarp, lzu_export.Call) == (FixedWarp, Call)
    assert lzu_export.LearnedWarp is LearnedWarp
    assert lzu_export.load is load
    assert lzu_export.export is export
    assert lzu_export.verify is verify
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        lzu_export.opne  # noqa: B018


def test_doors_import_no_torch() -> None:
    code = (
        "import sys, lzu_export; assert 'numpy' not in sys.modules; "
        "lzu_export.load; lzu_export.verify; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
