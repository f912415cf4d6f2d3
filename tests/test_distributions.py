"""What a package index gets: metadata, a README with links that work, complete archives."""

import email
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lzu_export.support.provenance import source_digest

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MADE = re.compile(r"PKG-INFO|setup\.cfg|\w+\.egg-info/.*")
"""Files that setuptools adds to a source distribution."""
EPOCH = "1700000000"


def project_table(folder: str = ".") -> dict[str, Any]:
    """Return the table [project] of a distribution."""
    text = (REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8")
    found = pytest.importorskip("tomllib").loads(text)["project"]
    assert isinstance(found, dict)
    return found


def readme_of_index(readme: str = README, project: str = PROJECT) -> str:
    """Return the README as setup.py hands it to an index."""
    return str(runpy.run_path(str(REPOSITORY / "setup.py"))["readme_of_index"](readme, project))


def test_links_of_the_index_lead_to_the_files_of_the_release() -> None:
    """Every link is absolute, to a file of this repository unless it was absolute before."""
    table, page = project_table(), readme_of_index()
    before, after = LINK.findall(README), LINK.findall(page)
    assert len(before) == len(after) > 30
    for old, new in zip(before, after, strict=True):
        if old.startswith("https://"):
            assert new == old
            continue
        kind = "raw" if old.endswith(".jpg") else "blob"
        start = f"{table['urls']['Repository']}/{kind}/v{table['version']}/"
        assert new == start + old
        assert (REPOSITORY / old.partition("#")[0]).is_file(), old
    assert LINK.sub("](x)", page) == LINK.sub("](x)", README), "only links change"


def test_pictures_and_code_of_a_readme() -> None:
    """Pictures are linked as files, anchors stay, and code with brackets is no link."""
    project = 'version = "2.0"\nRepository = "https://host/o/r"\n'
    given = "![a](b.jpg) [c](d/e.md#f) [g](#h) [i](https://j) x[0](y z) mailto [k](mailto:l)"
    assert readme_of_index(given, project) == (
        "![a](https://host/o/r/raw/v2.0/b.jpg) [c](https://host/o/r/blob/v2.0/d/e.md#f) "
        "[g](#h) [i](https://j) x[0](y z) mailto [k](mailto:l)"
    )


@pytest.mark.parametrize("folder", [".", "benchmarks/demo"])
def test_metadata(folder: str) -> None:
    """One repository, a licence expression with its text, and known extras."""
    table = project_table(folder)
    assert table["license"] == "Apache-2.0"
    assert not [each for each in table["classifiers"] if each.startswith("License ::")]
    own = REPOSITORY / folder / table["license-files"][0]
    assert own.read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    repository = project_table()["urls"]["Repository"]
    assert all(url.startswith(repository) for url in table["urls"].values())


def test_classifiers_name_each_python_and_typing() -> None:
    """Those that requires-python admits, and py.typed is there."""
    table = project_table()
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", table["requires-python"]).groups()  # type: ignore[union-attr]
    prefix = "Programming Language :: Python :: 3."
    named = {each for each in table["classifiers"] if each.startswith(prefix)}
    assert named == {f"{prefix}{minor}" for minor in range(int(low), int(high))}
    assert "Typing :: Typed" in table["classifiers"]
    assert (REPOSITORY / "lzu_export/py.typed").is_file()


def test_the_extra_brings_the_demonstration_of_this_release() -> None:
    requirement = pytest.importorskip("packaging.requirements").Requirement
    (wanted,) = map(requirement, project_table()["optional-dependencies"]["demo"])
    demo = project_table("benchmarks/demo")
    assert wanted.name == demo["name"]
    assert demo["version"] in wanted.specifier


def files_of_git() -> list[str]:
    """Return the paths that git tracks or would track; skip where there is no git."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("the files to compare with are those of git, which is not here")
    done = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    there = [(each, REPOSITORY / each) for each in done.stdout.splitlines()]
    return [each for each, path in there if path.is_file() or path.is_symlink()]


def followed(names: list[str]) -> dict[str, str]:
    """Return the files behind names by the name that each has where links are followed."""
    links = {name: os.readlink(REPOSITORY / name) for name in names if (REPOSITORY / name).is_dir()}
    found = {name: name for name in names if name not in links}
    for link, target in links.items():
        folder = os.path.normpath(Path(link).parent / target)
        behind = [name for name in names if name.startswith(f"{folder}/")]
        found |= {link + name.removeprefix(folder): name for name in behind}
    return found


def built(folder: Path, umask: int, *, backwards: bool) -> Path:
    """Copy the sources and build all distributions from the copy; return their folder.

    Order, times and permissions of the copied files differ with the arguments.
    """
    source = folder / "source"
    before = os.umask(umask)
    try:
        for name in sorted(files_of_git(), reverse=backwards):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, source / name, follow_symlinks=False)
            if not (source / name).is_symlink() and os.access(REPOSITORY / name, os.X_OK):
                (source / name).chmod(0o777 & ~umask)
        done = subprocess.run(
            [source / ".ci/dist", "../dist"],
            cwd=source,
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.umask(before)
    if "No matching distribution" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the distributions, built from two copies of the same sources."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    return built(first, 0o022, backwards=False), built(second, 0o002, backwards=True)


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of an archive by path; those of a source distribution without its folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as packed:
        return {
            each.name.partition("/")[2]: packed.extractfile(each).read()  # type: ignore[union-attr]
            for each in packed
            if each.isfile()
        }


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.slow  # builds four archives twice, each in an environment of its own
def test_equal_sources_give_equal_bytes(twice: tuple[Path, Path]) -> None:
    """Whatever order, times and permissions the files have."""
    hashes = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in twice
    ]
    assert hashes[0] == hashes[1]
    kinds = ("lzu_export-*.tar.gz", "lzu_export-*.whl", "lzu_export_demo-*.tar.gz")
    assert len(hashes[0]) == len([only(twice[0], kind) for kind in (*kinds, "*_demo-*.whl")]) == 4
    with tarfile.open(only(twice[0], kinds[0])) as packed:
        found = {(each.mtime, each.uid, each.uname) for each in packed}
        scripts = {Path(each.name).name for each in packed if each.isfile() and each.mode & 0o111}
    assert found == {(int(EPOCH), 0, "")}
    assert scripts == {"run", "dist", "find_tools.sh"}


@pytest.mark.slow
def test_the_source_distribution_is_the_repository(twice: tuple[Path, Path]) -> None:
    """File by file, besides what setuptools adds; what a link leads to stands in its place."""
    found = contents(only(twice[0], "lzu_export-*.tar.gz"))
    own = {name: data for name, data in found.items() if not MADE.fullmatch(name)}
    wanted = followed(files_of_git())
    assert set(own) == set(wanted)
    assert not [name for name in own if own[name] != (REPOSITORY / wanted[name]).read_bytes()]


@pytest.mark.slow
def test_wheels_hold_what_their_users_need(twice: tuple[Path, Path]) -> None:
    """No weights for a device; typed; the licence; the README of an index."""
    wheel, demo = only(twice[0], "lzu_export-*.whl"), only(twice[0], "lzu_export_demo-*.whl")
    files, weights = contents(wheel), contents(demo)
    assert wheel.stat().st_size < 3e6
    assert not [name for name in files if name.endswith((".pth", ".npy"))]
    assert {"lzu_export/py.typed", "lzu_export/recipes/det-demo.yaml"} <= set(files)
    tops = {name.partition("/")[0] for name in files if ".dist-info" not in name}
    assert tops == {"lzu_export", "lzu_benchmarks", "lzu_calibration"}
    assert len([name for name in weights if name.endswith(".pth")]) == 8
    for archive in (files, weights):
        assert any(name.endswith("licenses/LICENSE") for name in archive)
    (metadata,) = (data for name, data in files.items() if name.endswith("dist-info/METADATA"))
    message = email.message_from_bytes(metadata)
    assert message["Description-Content-Type"] == "text/markdown"
    text = message.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().strip() == readme_of_index().strip()


@pytest.fixture(scope="module")
def installed(twice: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environment with the wheel alone; its dependencies are those of the tests' environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "zz_dependencies.pth").write_text(
        "\n".join(each for each in sys.path if each.endswith("-packages")) + "\n"
    )
    pip(folder, only(twice[0], "lzu_export-*.whl"))
    return folder


def pip(environment: Path, wheel: Path) -> None:
    subprocess.run([environment / "bin/pip", "install", "-q", "--no-deps", wheel], check=True)


def sh(environment: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [environment / "bin" / words[0], *words[1:]],
        cwd=environment,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_installed_wheel_says_what_it_is(installed: Path) -> None:
    """Version by both entries, and a code revision that is the checkout's own."""
    version = f"lzu-export {project_table()['version']}\n"
    assert sh(installed, "lzu-export", "--version").stdout == version
    assert sh(installed, "python", "-m", "lzu_export", "--version").stdout == version
    code = "from lzu_export.support import provenance as p; print(p.PACKAGE, p.source_revision())"
    package, _, revision = sh(installed, "python", "-c", code).stdout.strip().partition(" ")
    assert Path(package).is_relative_to(installed)
    assert revision == f"{project_table()['version']}, code {source_digest()}"


@pytest.mark.slow
def test_the_demonstration_is_installed_by_its_own_wheel(
    installed: Path, twice: tuple[Path, Path]
) -> None:
    """Its absence is one sentence, and its wheel makes the same command work."""
    command = ("lzu-export", "warp", "det", "--json")
    lacking = sh(installed, *command)
    assert lacking.returncode == 2
    assert lacking.stderr.strip().endswith("pip install 'lzu-export[demo]'")
    pip(installed, only(twice[0], "lzu_export_demo-*.whl"))
    found = sh(installed, *command)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow  # imports all tests, and runs those that read the whole tree
def test_tests_of_the_source_distribution_pass(twice: tuple[Path, Path], tmp_path: Path) -> None:
    """All tests are found there, and those that read files beside the packages pass."""
    with tarfile.open(only(twice[0], "lzu_export-*.tar.gz")) as packed:
        packed.extractall(tmp_path, filter="data")
    source = only(tmp_path, "lzu_export-*")
    roots = os.pathsep.join(map(str, (source, source / "benchmarks", source / "calibration")))
    environment = {**os.environ, "PYTHONPATH": roots}
    named = ("distributions", "publishing", "makefile", "architecture")
    own = [f"tests/test_{name}.py" for name in named]
    for words in (["--collect-only"], [*own, "-m", "not slow and not gpu"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *words],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
