"""docs/regression.md followed to the letter, with a tiny model in the demonstration's place."""

import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.compiler.pipeline import export
from lzu_export.targets.tensorrt.rtx import version
from lzu_export.verification import pace
from samples import status_of, tiny_recipe

GUIDE = (Path(__file__).resolve().parents[2] / "docs/regression.md").read_text(encoding="utf-8")
RTX = ["tensorrt-rtx"] if version() is not None else []


def lines(language: str) -> list[str]:
    """Return the guide's first fenced block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def make(folder: Path, **changes: Any) -> None:
    """Export the bundles that the guide's commands name."""
    for variant in ("fixed", "uniform"):
        recipe = tiny_recipe(folder, name="det-demo", variant=variant, **changes)
        export(recipe, folder / "build", force=True)


def follow(line: str) -> int:
    """Run a command line of the guide in this process and return its exit status."""
    program, *arguments = shlex.split(line)
    assert Path(program).name == "lzu-export"
    return status_of(*arguments)


def test_the_guide_holds_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default bundle's state is compared by the guide's own commands and by its CI job."""
    monkeypatch.setattr(pace, "STRETCHES", 2)
    monkeypatch.chdir(tmp_path)
    store, compare = (line for line in lines("sh") if line.startswith("lzu-export"))
    job = yaml.safe_load("\n".join(lines("yaml")))["jobs"]["lzu"]["steps"]
    exported, verified = (step["run"] for step in job if "run" in step)

    both = {"precision": ["fp32", "fp16"], "tolerances": {"scores": {"fp16": 0.1}}}
    make(tmp_path, targets=["onnxruntime", *RTX], **both)
    assert follow(store) == 0
    # The same bundle, and no machine is quick enough for a figure of two stretches to be sure.
    reference = tmp_path / "references/det-fixed.json"
    stored = json.loads(reference.read_text())
    assert stored["baseline"].startswith("det-demo uniform")
    assert follow(compare) in (0, 3)
    told = capsys.readouterr().err
    assert "lost against" not in told or "latency" in told
    (tmp_path / "lzu.xml").unlink()

    assert shlex.split(exported) == ["make", "export", "TASK=det", "TARGET=onnxruntime"]
    shutil.rmtree(tmp_path / "build")  # a job begins in a fresh checkout
    make(tmp_path, targets=["onnxruntime"])
    stored["latency"]["key"] = "of the machine that stored it"
    reference.write_text(json.dumps(stored))
    assert follow(verified) == 0, capsys.readouterr().err
    root = ET.parse(tmp_path / "lzu.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    skipped = [str(case[0].get("message")) for case in root.iter("testcase") if len(case)]
    assert any("was not exported for onnxruntime in fp16" in each for each in skipped)
    assert not RTX or any("not exported for tensorrt-rtx in fp32" in each for each in skipped)
    assert any("another machine of this kind" in each for each in skipped)
