"""The example workflow that publishes: GitHub can read it, and its checks refuse what is unfit."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = REPOSITORY / "docs/examples/publish.yml"
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
BUILD, PUBLISH = (WORKFLOW["jobs"][name] for name in ("build", "publish"))
VERSION = re.search(
    r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE
)
PROJECTS = ("pyproject.toml", "benchmarks/demo/pyproject.toml")


def test_only_the_job_that_publishes_gets_a_token() -> None:
    """It runs no code of the repository, and publishes what the other job has built."""
    # YAML 1.1 reads the key `on` as true, GitHub does not.
    assert WORKFLOW[True] == {"release": {"types": ["published"]}}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in BUILD
    assert PUBLISH["permissions"] == {"id-token": "write"}
    assert PUBLISH["needs"] == "build"
    assert not [step for step in PUBLISH["steps"] if "run" in step]
    assert BUILD["steps"][-1]["with"] == PUBLISH["steps"][0]["with"]
    assert BUILD["steps"][-2]["run"].endswith(f".ci/dist {BUILD['steps'][-1]['with']['path']}")


def test_the_keys_are_those_that_github_knows() -> None:
    """Those of a workflow, a job and a step; actions are named with a version."""
    assert set(WORKFLOW) == {"name", True, "permissions", "jobs"}
    for job in (BUILD, PUBLISH):
        assert set(job) <= {
            "environment", "needs", "permissions", "runs-on", "steps", "timeout-minutes",
        }  # fmt: skip
        for step in job["steps"]:
            assert set(step) <= {"name", "uses", "with", "run"}
            assert ("uses" in step) != ("run" in step)
            assert "uses" not in step or re.fullmatch(
                r"(actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v1)", step["uses"]
            )


def test_the_checklist_names_what_is_registered() -> None:
    assert f"`{PUBLISH['environment']}`" in CONTRIBUTING
    assert "`publish.yml`" in CONTRIBUTING
    assert "(docs/examples/publish.yml)" in CONTRIBUTING


@pytest.mark.parametrize(
    ("tag", "owner", "refused"),
    [
        ("v{}", "someone", None),
        ("v{}.1", "someone", "Compare the tag with the version"),
        ("v{}", "OWNER", "Refuse addresses of no account"),
    ],
)
def test_a_release_is_checked(tag: str, owner: str, refused: str | None, tmp_path: Path) -> None:
    """By its tag and its addresses, with GitHub's shell."""
    assert VERSION is not None
    for name in PROJECTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = shutil.copyfile(REPOSITORY / name, tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"github\.com/\w+/", f"github.com/{owner}/", text))
    failed = []
    for step in BUILD["steps"]:
        if "run" not in step or ".ci/dist" in step["run"]:
            continue
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=tmp_path,
            env={**os.environ, "GITHUB_REF_NAME": tag.format(VERSION[1])},
            capture_output=True,
            check=False,
        )
        failed += [step["name"]] if done.returncode else []
    assert failed == ([refused] if refused else [])
