"""What an installation holds of the plugins, and how remedies name options."""

import re
from pathlib import Path

import pytest

from lzu_export.support import checkout
from lzu_export.support.checkout import CHECKOUT, PLUGINS, option
from lzu_export.support.files.places import build_folder

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_source_of_the_plugins_is_in_the_package() -> None:
    """The package's data list names all that the makefile, the sample and readers need."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^lzu_export = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    patterns = re.findall(r'"(plugins/[^"]+)"', listed)
    package = REPOSITORY / "lzu_export"
    linked = package / "plugins"  # in an unpacked source distribution it is a copy
    shipped = {path.relative_to(linked) for each in patterns for path in package.glob(each)}
    sources = REPOSITORY / "plugins"
    files = {path.relative_to(sources) for path in sources.rglob("[!.]*") if path.is_file()}
    assert files <= shipped
    for name in ("Makefile", "find_tools.sh", "lzu_kernels.pc.in", "sample/CMakeLists.txt"):
        assert Path(name) in files
    assert linked.resolve() == PLUGINS


def test_remedies_name_options_or_the_makefile_s_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only what the checkout's Makefile runs names its variables."""
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert option("out") == "--out"
    assert option("checkpoint", "FILE") == "--checkpoint FILE"
    monkeypatch.setenv("MAKELEVEL", "1")
    assert option("out") == "OUT"
    assert option("calibration", "FOLDER") == "FRAMES=FOLDER"
    assert option("random-weights", "0") == "RANDOM_WEIGHTS=0"
    assert option("force") == "FORCE=1"
    variables = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split()
    assert set(checkout.VARIABLES) == {"calibration", "force"}
    assert {"OUT", "FRAMES", "RANDOM_WEIGHTS", "FORCE", "SET"} <= set(variables)
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    assert option("out") == "--out"  # another project's Makefile runs this


def test_where_plugins_are_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A checkout has its own folder, as of its Makefile; elsewhere it is the user's."""
    monkeypatch.setenv("LZU_CACHE", str(tmp_path / "cache"))
    assert build_folder() == CHECKOUT / "build" / "plugins"
    monkeypatch.setattr(checkout, "CHECKOUT", tmp_path)
    assert build_folder("plugins-aarch64") == tmp_path / "cache" / "plugins-aarch64"


def test_no_remedy_names_make_to_somebody_without_a_makefile() -> None:
    """Sentences of the package name its commands; `option` names variables of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    values = re.findall(r"^VALUES := (.*?[^\\])$", makefile, re.MULTILINE | re.DOTALL)[0].split()
    names = "|".join(set(values) - {"\\", "CUDA_HOME", "TENSORRT_INCLUDE"})  # nvcc's, of any build
    targets = "|".join(re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE))
    wrong = re.compile(rf"\bmake (?:{targets})\b|\b(?:{names})=|[( ](?:{names})\)|out of [A-Z]")
    found = []
    for path in (REPOSITORY / "lzu_export").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        quoted = re.findall(r'(?<!")"(?!")[^"\n]*"', text)
        found += [f"{path.name}: {each}" for each in quoted if wrong.search(each)]
    # The two speak to whoever has a checkout.
    assert [each for each in found if not each.startswith(("checkout.py", "contracts.py"))] == []
