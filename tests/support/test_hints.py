"""Every command against every extra: who follows the hints comes to a command that runs."""

import json
import re
import subprocess
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import cv2
import pytest
from packaging.requirements import Requirement

from lzu_export.manifest.schema import read_manifest
from lzu_export.runtime import load
from lzu_export.support.extras import BRINGS
from samples import tiny_recipe, tiny_settings

REPOSITORY = Path(__file__).resolve().parents[2]
HINT = re.compile(r"pip install 'lzu-export\[(\w+)\]'")
COMMANDS = {
    "inspect {bundle}": {"base"},
    "recipes": {"base"},
    "warp {bundle} --frames {image} --out warp.png": {"base", "bench"},
    "run {bundle} {image} --out out": {"base", "runtime"},
    "verify {bundle}": {"base", "runtime", "verify"},
    "derive {bundle}": {"base", "runtime", "device"},
    "calibrate {bundle} --calibration {frames} --count 2 --out c.json": {
        "base", "runtime", "verify",
    },
    "bench --bundles {bundle} --dataset none --min-seconds 0.05 --min-queries 4 --out out": {
        "base", "runtime", "bench",
    },
    "export {recipe} --variant fixed --out out": {"base", "runtime", "export"},
    "build {bundle} --out a.engine": {"base", "rtx"},
    "verify {bundle} --live {frames} --batches 1": {"base", "runtime", "verify", "export"},
    "regress {bundle} --reference state.json --update": {"base", "runtime", "verify"},
    "sensitivity {bundle} --calibration {frames} --count 2 --dataset {truth} --limit 50": {
        "base", "runtime", "verify", "bench",
    },
}  # fmt: skip
"""What is needed in the end: no torch, for one."""


def _closure(extras: set[str]) -> set[str]:
    """Names of the packages that this project and some of its extras install."""
    # As declared now: the metadata of an installation from a checkout may be older.
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    project = pytest.importorskip("tomllib").loads(text)["project"]
    declared = [*project["dependencies"]]
    for extra in extras & set(BRINGS):
        declared += project["optional-dependencies"][extra]
    found = {"lzu-export[]"}
    waiting = [each for each in map(Requirement, declared) if _applies(each, "")]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            key = f"{wanted.name}[{extra}]".lower()
            if key in found:
                continue
            found.add(key)
            try:
                needs = distribution(wanted.name).requires or []
            except PackageNotFoundError:
                continue
            waiting += [each for each in map(Requirement, needs) if _applies(each, extra)]
    return {name.partition("[")[0] for name in found}


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _environment(folder: Path, extras: set[str]) -> Path:
    """A virtual environment that has links to those packages alone; its Python."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in _closure(extras):
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            continue
        tops = {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            place = Path(str(distribution(name).locate_file(top)))
            if place.exists() and not (packages / top).exists():
                (packages / top).symlink_to(place)
    paths = [REPOSITORY, REPOSITORY / "benchmarks", REPOSITORY / "calibration"]
    (packages / "checkout.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"


def _truth(bundle: Path, image: Path) -> dict[str, Any]:
    """COCO annotations of three equal frames: what the bundle itself finds in them."""
    with load(bundle) as detector:
        frame = cv2.imread(str(image))
        assert frame is not None
        found = [box for box in detector(frame).to_coco(0) if min(box["bbox"][2:]) > 1]
    images = [
        {"id": i, "file_name": f"frames/{i}.png", "width": 160, "height": 96} for i in range(3)
    ]
    boxes: list[dict[str, Any]] = []
    for each in images:
        for box in found:
            area = box["bbox"][2] * box["bbox"][3]
            rest = {"id": len(boxes) + 1, "image_id": each["id"], "area": area, "iscrowd": 0}
            boxes.append({**box, **rest})
    names = read_manifest(bundle).recipe.classes
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    return {"images": images, "categories": categories, "annotations": boxes}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_hints_lead_to_a_command_that_runs(
    command: str, bundle: Path, image: Path, tmp_path: Path
) -> None:
    """From nothing but the package, one hint after the other, each of which helps."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        (frames / f"{i}.png").write_bytes(image.read_bytes())
    given = {"bundle": bundle, "image": image, "frames": frames, "truth": tmp_path / "truth.json"}
    given["truth"].write_text(json.dumps(_truth(bundle, image)))
    given["recipe"] = tmp_path / "tiny.yaml"
    given["recipe"].write_text(json.dumps(tiny_settings(tmp_path)))
    if command.startswith("build"):
        from lzu_export.compiler.pipeline import export

        pytest.importorskip("tensorrt_rtx")
        recipe = tiny_recipe(tmp_path, targets=["onnxruntime", "tensorrt-rtx"])
        given["bundle"] = export(recipe, tmp_path / "made").folder
    words = command.format(**given).split()
    extras = {"base"}
    for step in range(4):
        python = _environment(tmp_path / f"venv{step}", extras)
        done = subprocess.run(
            [str(python), "-m", "lzu_export", *words],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == 2, done.stderr
        (hint,) = HINT.findall(done.stderr)
        assert hint not in extras, done.stderr
        extras.add(hint)
    assert done.returncode == 0, done.stderr
    assert extras == COMMANDS[command]
