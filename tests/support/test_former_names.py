"""Scripts that import modules by their former names."""

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

import lzu_export
from lzu_export.support.former_names import FORMER, keep_former_names


@pytest.mark.parametrize("name", sorted(FORMER))
def test_each_former_name_is_of_a_module_of_today(name: str) -> None:
    """And no module has the name again."""
    assert find_spec(FORMER[name]) is not None
    found = find_spec(name)
    assert found is not None
    assert type(found.loader).__name__ == "_FormerNames"


SCRIPTS = {
    "lzu_benchmarks.accuracy": ["Evaluation", "average_precision"],
    "lzu_benchmarks.datasets": ["SPLITS", "open_demo", "write_coco"],
    "lzu_benchmarks.scenes": ["LENGTH", "Sequence", "render"],
    "lzu_benchmarks.train.schedule": ["channels_last", "optimiser", "sampling_order"],
    "lzu_export.datasets": ["open_dataset"],
    "lzu_export.evaluate": ["evaluate"],
    "lzu_export.runtime.postprocess": ["suppress"],
    "lzu_export.tasks.pytorch": ["assemble"],
    "lzu_export.tasks.warps": ["make_warp"],
    "lzu_export.warp.saliency": ["box_saliency", "uniform_saliency"],
}
"""What training and test scripts outside of this repository import."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, names in SCRIPTS.items() for n in names]
)
def test_what_scripts_import_is_there(module: str, name: str) -> None:
    assert callable(getattr(import_module(module), name)) or name.isupper()


def test_what_the_module_has_is_imported_by_both_names() -> None:
    sys.modules.pop("lzu_export.files", None)
    with pytest.warns(DeprecationWarning, match=r"lzu_export\.files is lzu_export\.support\.files"):
        former = import_module("lzu_export.files")
    assert former.read_bytes is import_module("lzu_export.support.files").read_bytes
    with pytest.raises(AttributeError):
        _ = former.no_such_name


def test_a_study_runs_by_its_former_name() -> None:
    command = [sys.executable, "-m", "lzu_benchmarks.misregistration", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: lzu_benchmarks.misregistration is lzu_benchmarks.studies" in done.stderr
    assert "usage" in done.stdout


def test_other_names_are_left_alone() -> None:
    keep_former_names()  # twice is once
    finders = [each for each in sys.meta_path if type(each).__name__ == "_FormerNames"]
    assert len(finders) == 1
    assert lzu_export.__version__
    with pytest.raises(ModuleNotFoundError):
        import_module("lzu_export.no_such_module")
