"""Fixtures shared by all tests."""

import os

# Set this before any test imports torch: spinning threads are very slow on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers already use all processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import ctypes
import fcntl
import gc
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings

# There is no deadline, because the time of an example depends on how busy the machine is.
# Every run uses the same examples; `--hypothesis-profile explore` searches for new ones.
settings.register_profile("any-machine", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parents[1]

# Tests below `make test` see what they see without it: remedies name options and not the
# Makefile's variables, and a Makefile that a test runs takes its own defaults.
DEFAULTS = re.findall(r"^(\w+) *\?=", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
for exported in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", *DEFAULTS):
    os.environ.pop(exported, None)

# A trace makes a million objects; looking for garbage at every 700th takes a tenth of its time.
gc.set_threshold(20_000, 20, 20)

# Tests start many programs, and without compiled modules each compiles the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Keep the rendered frames of tests out of the user's own cache.
os.environ.setdefault("LZU_CACHE", str(REPOSITORY / ".pytest_cache" / "lzu"))


@pytest.fixture(scope="session")
def gpu_driver() -> None:
    """Skip the test if there is no NVIDIA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA driver on this machine (libcuda.so.1 does not load)")


@pytest.fixture(scope="session")
def gpu_device(gpu_driver: None) -> None:
    """Skip the test if CUDA cannot be used."""
    from lzu_export.errors import ElsewhereError
    from lzu_export.targets.cuda.interface import open_cuda

    try:
        open_cuda()
    except ElsewhereError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real frames and golden vectors that are not part of the repository."""
    folder = Path(os.environ.get("LZU_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("golden vectors and real frames are absent; point LZU_SHARED at them")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Folder of golden vectors that were computed with the published code."""
    folder = shared / "golden"
    if not folder.is_dir():
        pytest.skip(f"golden vectors are absent from LZU_SHARED ({shared})")
    return folder


@pytest.fixture(scope="session")
def published_warps(golden: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Warps computed with the published code: arrays by name, and the settings of their cases.

    The settings are lists under `kde` (warps from boxes) and `warps` (warps from a saliency map).
    """
    with np.load(golden / "published_warps.npz") as archive:
        arrays = dict(archive)
    return arrays, json.loads(str(arrays.pop("meta")))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the bundles that all tests and all workers share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "bundles"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module", autouse=True)
def older_objects_are_no_garbage() -> None:
    """Spare the garbage collector what is there before a module's tests, such as all of torch.

    A full collection would take half a second otherwise, and tests of leaks ask for many.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def shared_traces() -> Iterator[None]:
    """Trace equal networks once for all modules and workers, and for later runs of the same code.

    Without torch nothing is traced.
    """
    if "torch" not in sys.modules:
        yield
        return
    from lzu_export.models import trace as module
    from shared_traces import SharedTraces, folder_of_this_code

    kept = folder_of_this_code(REPOSITORY / ".pytest_cache" / "lzu" / "traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", SharedTraces(kept, module.trace))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    """Time engines and lowerings with the fewest runs, since no test reads how long they took."""
    with pytest.MonkeyPatch.context() as patch:
        for timer in ("evaluation.evaluate", "compiler.comparison", "targets.onnxruntime_timing"):
            with suppress(ImportError):
                patch.setattr(f"lzu_export.{timer}.SECONDS", 0.0)
        yield


@contextmanager
def _alone(bundles: Path, name: str) -> Iterator[None]:
    """Let one worker make a bundle; the others wait, and their exports find it up to date."""
    with (bundles / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Plain data of a complete recipe of an untrained network, small enough for any test.

    Copy it before you change it; `lzu_export.recipes.load.validate` makes a Recipe of it.
    """
    from lzu_export.warp.box_saliency import box_saliency
    from samples import TINY_MODEL

    saliency = tmp_path_factory.mktemp("tiny-recipe") / "saliency.npy"
    boxes = np.array([[60.0, 40, 90, 60], [100, 50, 130, 70]])
    np.save(saliency, box_saliency(boxes, (96, 160), (9, 13)))
    return {
        "name": "tiny",
        "task": "det",
        "source": [96, 160],
        "scale": 0.5,
        "warp": {"saliency": str(saliency), "lattice": [9, 13], "fwhm": 4.0},
        "model": TINY_MODEL,
        "classes": ["car", "sign"],
        "random_weights": 0,
        "precision": ["fp32"],
        "targets": ["onnxruntime"],
        "postprocess": {"candidates_per_level": 100},
    }


@pytest.fixture(scope="session")
def tiny_bundle(tiny_recipe: dict[str, Any], bundles: Path) -> Path:
    """Folder of a verified bundle of `tiny_recipe`. Do not change its files: copy it first."""
    from lzu_export.compiler.pipeline import export
    from lzu_export.recipes.load import validate

    with _alone(bundles, "given"):
        return export(validate(tiny_recipe, "tiny"), bundles / "given").folder


def _bundle_of(task: str, folder: Path, bundles: Path, **changes: Any) -> Path:
    from lzu_export.compiler.pipeline import export
    from samples import tiny_recipe

    with _alone(bundles, task):
        return export(tiny_recipe(folder, task, **changes), bundles).folder


@pytest.fixture(scope="session")
def tiny_seg_bundle(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Path:
    """Folder of a verified bundle that segments 96x160 frames. Copy it before you change it."""
    return _bundle_of("seg", tmp_path_factory.mktemp("tiny-seg"), bundles)


@pytest.fixture(scope="session")
def tiny_det3d_bundle(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Path:
    """Folder of a verified bundle of 3-D detection with a batch of two 96x160 frames.

    Copy it before you change it.
    """
    return _bundle_of("det3d", tmp_path_factory.mktemp("tiny-det3d"), bundles, batch=2)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Folder of a copy of the tiny bundle, which a test may change or damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Path of a frame that fits the tiny bundle."""
    from lzu_export.tasks.pytorch import noise_frame

    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), noise_frame((96, 160), 5))
    return path


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run `apply` with the tiny bundle on a source; results go to tmp_path/out.

    `apply`'s own options may be given by name, and `out` is another folder for the results.
    """
    from lzu_export.bundle.run import apply
    from lzu_export.support.progress import Reporter

    def call(source: Path, **changes: Any) -> dict[str, Any]:
        options = {"show_warp": False, "out": tmp_path / "out", **changes}
        return apply(
            tiny_bundle, source, options.pop("out"), report=Reporter(quiet=True), **options
        )

    return call


@pytest.fixture(
    scope="module", params=["det", "seg", pytest.param("det3d", marks=pytest.mark.slow)]
)
def each_task(request: pytest.FixtureRequest) -> str:
    """Name of a task: every test that takes it, or a fixture made of it, runs once for each."""
    return str(request.param)
