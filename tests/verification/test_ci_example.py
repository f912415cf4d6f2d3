"""The example workflow: one that GitHub can read, told as it is, and whose steps do their work."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "docs/examples/lzu-checks.yml"
GUIDE = (REPOSITORY / "docs/regression.md").read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["lzu"]["steps"]


def test_the_guide_shows_the_file_as_it_is() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert block == FILE.read_text(encoding="utf-8")


def test_the_workflow_has_the_keys_that_github_knows() -> None:
    """Its schema's, of a workflow, a job and a step; actions are named with a version."""
    # YAML 1.1 reads the key `on` as true, GitHub does not.
    assert set(WORKFLOW) == {"name", True, "permissions", "jobs"}
    assert set(WORKFLOW[True]) <= {"push", "pull_request"}
    (job,) = WORKFLOW["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    for step in STEPS:
        assert set(step) <= {"name", "if", "uses", "with", "run"}
        assert ("uses" in step) != ("run" in step)
        assert "with" not in step or "uses" in step
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
    checks, page = STEPS[-1]["with"]["path"].split()
    assert f"--junit {checks}" in STEPS[-2]["run"]
    assert f"regress {page.removesuffix('.regression.*')} " in STEPS[-2]["run"]
    assert STEPS[-1]["if"] == "always()", "a failed comparison is uploaded, too"


@pytest.mark.slow  # exports the demonstration detectors: minutes
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_steps_do_their_work(tmp_path: Path) -> None:
    """In a checkout whose environment is that of the tests, as GitHub's shell runs them."""
    checkout = tmp_path / "checkout"
    kept = shutil.ignore_patterns(".git", ".venv", "build", "references", "__pycache__", ".*_cache")
    shutil.copytree(REPOSITORY, checkout, ignore=kept, symlinks=True)
    ready = checkout / ".venv"
    ready.mkdir()
    (ready / "bin").symlink_to(Path(sys.executable).parent)
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^EXTRAS \?= (.*)$", makefile, flags=re.MULTILINE)
    assert extras is not None
    (ready / f".ready-{extras[1].replace(',', '-')}").touch()
    exported, compared = (step["run"] for step in STEPS if "run" in step)
    stored = re.search(r"^lzu-export regress .* --update .*$", GUIDE, re.MULTILINE)
    assert stored is not None
    for line in (exported, f".venv/bin/{stored[0]}", compared):
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", line],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    page = STEPS[-1]["with"]["path"].split()[1]
    assert {each.suffix for each in checkout.glob(page)} == {".html", ".json"}
    root = ET.parse(checkout / "lzu.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert int(root.get("tests", "0")) > 10
