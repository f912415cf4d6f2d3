"""`lzu-export warp` as a user and a script see it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from lzu_export.inputs.camvid import GROUPS
from preview_samples import coco
from samples import saliency_file, status_of, tiny_settings

BOXES = [[70.0, 40, 90, 52], [80, 44, 88, 50], [60, 42, 66, 46], [0, 0, 160, 96]]
Warp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def warp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Warp:
    """`lzu-export warp` in an empty folder: its status, stdout and stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        status = status_of("warp", *arguments)
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe whose warp is made from boxes."""
    settings = tiny_settings(tmp_path, warp={"saliency": str(coco(tmp_path, BOXES))})
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**settings, "classes": ["near", "far"]}))
    return path


def test_it_prints_magnification_boxes_and_proposals_and_draws_a_picture(
    warp: Warp, recipe: Path, image: Path
) -> None:
    status, out, err = warp(
        recipe, "--frames", image, "--magnification", 1.4, "--scale", 1, "--set", "warp.fwhm=3"
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "tiny, fixed: 96x160 -> 96x160"
    assert [line.split()[0] for line in lines[2:4]] == ["across", "down"]
    assert any(line.split()[:2] == ["below", "16"] for line in lines)
    assert "  --set warp.fwhm=" in out
    assert "  --set warp.bandwidth=" in out
    assert lines[-1] == "picture: warp.png"
    assert max(map(len, lines)) <= 80
    assert cv2.imread("warp.png") is not None


def test_json_has_the_same_figures(warp: Warp, recipe: Path) -> None:
    status, out, err = warp(
        recipe, "--small", 10, "--magnification", 1.4, "--json", "--out", "a.svg"
    )
    found = json.loads(out)
    assert (status, err, found["picture"]) == (0, "", "a.svg")
    assert found["settings"] == {"warp.fwhm": 4, "warp.bandwidth": 64}
    assert found["boxes"]["small"]["below"] == 10
    assert found["boxes"]["small"]["uniform"] == 0.75
    assert [list(each["values"]) for each in found["proposals"]] == [
        ["warp.fwhm"],
        ["warp.bandwidth"],
    ]


def test_a_variant_and_a_saliency_are_those_of_the_recipe_s_export(
    warp: Warp, recipe: Path, tmp_path: Path
) -> None:
    status, out, err = warp(recipe, "--variant", "uniform")
    assert (status, out.splitlines()[0]) == (0, "tiny, uniform: 96x160 -> 48x80")
    assert err.replace("\n", "").endswith("all but the identity: it magnifies by 1.00 at most")
    status, out, _ = warp(recipe, "--saliency", saliency_file(tmp_path), "--json")
    assert status == 0
    assert json.loads(out)["boxes"] is None


def test_a_bundle_and_its_file_of_knots_are_shown_alike(
    warp: Warp, tiny_bundle: Path, image: Path
) -> None:
    whole, file = (
        json.loads(warp(path, "--frames", image, "--json")[1])
        for path in (tiny_bundle, tiny_bundle / "warp.npz")
    )
    assert whole["magnification"] == file["magnification"]
    assert whole["magnification"]["y"]["largest"] > 1.05
    assert (whole["warp"], file["warp"]) == (tiny_bundle.name, "warp.npz")


def test_camvid_with_the_numbers_of_cityscapes_is_warned_of(
    warp: Warp, shared: Path, tmp_path: Path
) -> None:
    """A boundary that counts ten times the background hardly zooms where boundaries are dense."""
    labels = shared / "camvid/train"
    if not labels.is_dir():
        pytest.skip("no CamVid there")
    warped = {"saliency": str(labels), "lattice": [31, 41], "fwhm": 10, "background": 0.1}
    settings = tiny_settings(tmp_path, "seg", classes=[*GROUPS], source=[360, 480], warp=warped)
    settings["model"]["num_classes"] = 11
    path = tmp_path / "camvid.yaml"
    path.write_text(yaml.safe_dump(settings))
    frames = shared / "camvid/val/images"
    status, out, _ = warp(path, "--frames", frames, "--magnification", 1.5, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["warnings"] == [
        "the warp is all but the identity: it magnifies by 1.16 at most; --magnification 2 "
        "proposes another warp.fwhm or warp.background"
    ]
    (background,) = [each for each in found["proposals"] if "warp.background" in each["values"]]
    assert background["reaches"]
    assert background["values"]["warp.background"] == pytest.approx(0.007, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yaml"], "none.yaml does not exist"),
        (["dett"], "there is no recipe named dett"),
        (["argoverse-hd"], "the fixed warp needs a saliency: set warp.saliency"),
        (["det", "--variant", "adaptive"], "makes its warp from the boxes of a frame; give the fr"),
        (["det", "--frames", "none"], "none does not exist; give a folder"),
        (["det", "--frames", "{image}"], "is 96x160 but the recipe's source 360x640; give frames"),
        (["det", "--fit", "none"], "fit is 'none'; choose one of"),
        (["det", "--magnification", "0.5"], "--magnification is 0.5; give a number above 1"),
        (["det", "--boxes", "none.json"], "none.json"),
        (["det", "--out", "picture.bmp"], "--out picture.bmp is no picture"),
        (["det", "--set", "warp.fwhm"], "--set warp.fwhm is not key=value"),
        (["map.npy"], "map.npy does not record the size of its frames; give one by --frames"),
        (["map.npy", "--frames", "{image}"], "map.npy cannot be read"),
        (["{folder}"], "is no bundle"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, warp: Warp, image: Path, tmp_path: Path
) -> None:
    filled = [each.format(image=image, folder=tmp_path) for each in arguments]
    status, out, err = warp(*filled)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert words in err
    assert not list(Path.cwd().iterdir())


def test_it_needs_no_torch_and_names_the_extra_of_matplotlib(
    tiny_bundle: Path, recipe: Path, tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "for name in sys.argv.pop(1).split(','): sys.modules[name] = None\n"
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name: None if sys.modules.get(name, 1) is None else find(name)\n"
        "from lzu_export.cli.app import main\n"
        "main()"
    )

    def without(names: str, subject: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, names, "warp", str(subject)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for subject in (tiny_bundle, recipe):
        done = without("torch,onnx,onnxruntime,onnx_graphsurgeon", subject)
        assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr
    done = without("matplotlib", recipe)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: figures are drawn by matplotlib; pip install 'lzu-export[bench]'"
    )
