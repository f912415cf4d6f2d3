"""The guides are correct: commands parse and run, options, targets, keys and links exist."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
import yaml

from lzu_benchmarks.bench.options import Options as BenchOptions
from lzu_benchmarks.bench.options import parse as parse_bench
from lzu_benchmarks.harness.latency import main as latency
from lzu_export.cli.app import app
from lzu_export.compiler.pipeline import export
from lzu_export.manifest.schema import read_manifest
from lzu_export.recipes import load_recipe
from lzu_export.recipes.load import validate
from samples import tiny_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "plugins/README.md",
    REPOSITORY / "plugins/sample/README.md",
]
GUIDES = [page for page in PAGES if page.parent == REPOSITORY / "docs"]
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
EXAMPLE = REPOSITORY / "docs/examples/own_segmenter.py"
FINISHED = "build/det/fixed-0.5x"

# Options that `trtexec --help` of 10.5 lists; 11 has dropped none of those that the guides use.
TRTEXEC = {
    "--onnx", "--saveEngine", "--loadEngine", "--stronglyTyped", "--noTF32", "--skipInference",
    "--staticPlugins", "--useCudaGraph", "--useSpinWait", "--noDataTransfers", "--warmUp",
    "--duration", "--percentile", "--separateProfileRun", "--dumpProfile", "--exportProfile",
    "--profilingVerbosity", "--exportLayerInfo", "--loadInputs",
}  # fmt: skip
# Options in NVIDIA's quick start guide of TensorRT-RTX.
TENSORRT_RTX = {
    "--onnx", "--saveEngine", "--loadEngine", "--runtimeCacheFile", "--skipInference",
}  # fmt: skip
TOOLS = {
    "trtexec": TRTEXEC,
    "tensorrt_rtx": TENSORRT_RTX,
    "nvidia-smi": {
        "--query-supported-clocks", "--format", "--lock-gpu-clocks", "--reset-gpu-clocks",
    },
    "jetson_clocks": {"--show"},
    "dask": {
        "--name", "--resources", "--nthreads", "--no-nanny", "--no-dashboard", "--local-directory",
        "--worker-port", "--tls-ca-file", "--tls-cert", "--tls-key", "--host", "--nworkers",
        "--dashboard-address",
    },
    "docker": {"--runtime", "--gpus"},
    "python3": {"--system-site-packages"},
    "pip": {"--extra-index-url"},
    "uv": {"--torch-backend"},
}  # fmt: skip
GONE = {"--fp16", "--bf16", "--int8", "--best"}
"""Options of trtexec that the guides advise against."""


class Block(NamedTuple):
    """A fenced code block of a page."""

    page: Path
    language: str
    text: str
    mark: str
    """Text of the comment before the block: `runs`, `runs: slow`, or empty."""

    @property
    def name(self) -> str:
        """Identifier of the block for pytest."""
        return f"{self.page.stem}: {self.text.splitlines()[0][:50]}"


def blocks(*languages: str) -> list[Block]:
    """Return all code blocks of the pages in one of these languages."""
    pattern = r"(?:<!-- (runs[^>]*?) -->\n)?^```(\w+)\n(.*?)^```"
    found = []
    for page in PAGES:
        for mark, language, text in re.findall(
            pattern, page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        ):
            if language in languages:
                found.append(Block(page, language, text, mark))
    return found


def inline(page: Path) -> list[str]:
    """Return the inline code of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.findall(r"`([^`\n]+)`", text)


def command_lines() -> Iterator[tuple[Path, list[str]]]:
    """Yield the page and the words of every command in code blocks and in the text."""
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from ((block.page, words) for words in simple_commands(line))
    for block in blocks("yaml"):
        for job in yaml.safe_load(block.text).get("jobs", {}).values():
            for step in job["steps"]:
                if "run" in step:
                    yield block.page, shlex.split(step["run"])
    for page in PAGES:
        for code in inline(page):
            if re.match(r"(lzu-export|make|trtexec|tensorrt_rtx|docker|python3?|uv) ", code):
                yield from ((page, words) for words in simple_commands(code.replace("...", "")))


def simple_commands(line: str) -> list[list[str]]:
    """Return the words of each command of a line, which `&&` and `|` join."""
    parts = re.split(r"\s(?:&&|\|)\s", line)
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def of_tool(name: str) -> list[tuple[Path, list[str]]]:
    """Return page and arguments of the commands that run a program, also by `sudo` or a path."""
    found = []
    for page, words in command_lines():
        mine = words[1:] if words[0] == "sudo" else words
        if Path(mine[0]).name == name:
            found.append((page, mine[1:]))
    return found


@pytest.mark.parametrize(
    "words",
    [pytest.param(w, id=f"{p.stem}: {' '.join(w)[:60]}") for p, w in of_tool("lzu-export")],
)
def test_lines_of_lzu_export_parse(words: list[str]) -> None:
    """Every option exists and every value has the right type; nothing runs.

    The text may name a command alone, or with options but without its arguments.
    """
    group: Any = typer.main.get_command(app)
    name, *arguments = words
    assert name in group.commands, f"lzu-export {name} is no command"
    if name == "bench":
        parse_bench(arguments)
    elif arguments and not arguments[0].startswith("-"):
        group.commands[name].make_context(name, arguments)
    else:
        known = {option for each in group.commands[name].params for option in each.opts}
        assert {word for word in arguments if word.startswith("-")} <= known


@pytest.mark.parametrize("tool", TOOLS)
def test_options_of_other_tools_are_known(tool: str) -> None:
    lines = of_tool(tool)
    assert lines, f"no page has a line of {tool}"
    for page, words in lines:
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in TOOLS[tool], f"{page.name}: {tool} {word}"


def test_modules_of_the_benchmarks_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m lzu_benchmarks.X` names a module, and its latency options exist."""
    named = [words for _, words in of_tool("python") if words[0] == "-m" and words[1:]]
    assert len(named) > 5
    for _, module, *arguments in named:
        assert find_spec(module), module
        if module == "lzu_benchmarks.harness.latency":
            with pytest.raises(SystemExit):
                latency(["--help"])
            told = capsys.readouterr().out
            assert all(word in told for word in arguments if word.startswith("--"))


def test_options_in_the_text_exist() -> None:
    """Each option in the text belongs to this command line, to a program of `benchmarks`, or to one
    of `TOOLS`.
    """
    known = {option for options in TOOLS.values() for option in options} | GONE
    group: Any = typer.main.get_command(app)
    for command in group.commands.values():
        known |= {option for each in command.params for option in each.opts}
    bench = typer.Typer()
    bench.command()(BenchOptions)
    known |= {option for each in typer.main.get_command(bench).params for option in each.opts}
    known |= {option for each in group.params for option in each.opts}
    for program in (REPOSITORY / "benchmarks").rglob("*.py"):
        code = program.read_text(encoding="utf-8")
        known |= set(re.findall(r'add_argument\(\s*"(--[\w-]+)"', code))
    for page in GUIDES:
        for code in inline(page):
            for option in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code):
                assert option in known, f"{page.name}: {option}"


def test_lines_of_make_have_targets_and_variables() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, flags=re.MULTILINE))
    scripts = (REPOSITORY / "plugins/find_tools.sh").read_text(encoding="utf-8")
    (values,) = re.findall(r"^VALUES := ((?:.*\\\n)*.*)", MAKEFILE, flags=re.MULTILINE)
    variables = set(re.findall(r"[A-Z_]+", values))
    variables |= set(re.findall(r"\$\{([A-Z_]+):-", scripts))
    lines = of_tool("make")
    assert len(lines) > 20
    for page, words in lines:
        assert words[0] in targets, f"{page.name}: make {words[0]}"
        for word in words[1:]:
            name, equals, _ = word.partition("=")
            assert equals, f"{page.name}: make ... {word}"
            assert name in variables, f"{page.name}: make ... {word}"


def test_extras_named_exist() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^([a-z0-9]+) = \[", project.split("[tool.")[0], flags=re.MULTILINE))
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.findall(r"EXTRAS=([\w,]+)|'\.\[([\w,]+)\]'", text):
            named |= set("".join(found).split(","))
    assert {"runtime", "device", "cuda", "gpu"} <= named
    assert named <= extras


def test_jetpack_6_gets_bindings_of_cuda_12() -> None:
    """Its driver does not run bindings of CUDA 13, which the extra `cuda` allows."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^cuda12 = \["cuda-bindings>=12\.6,<13"\]$', project, flags=re.MULTILINE)
    guide = (REPOSITORY / "docs/jetson.md").read_text(encoding="utf-8")
    setups = re.findall(r"^make setup EXTRAS=(\S+) +# JetPack (\d)$", guide, flags=re.MULTILINE)
    brings = {release: {"cuda", "cuda12"} & set(extras.split(",")) for extras, release in setups}
    assert brings == {"6": {"cuda12"}, "7": {"cuda"}}


def slug(heading: str) -> str:
    """Return a heading's anchor as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_guide_is_listed() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in GUIDES}
    assert pages <= set(re.findall(r"docs/([\w-]+\.md)", text))
    index = (REPOSITORY / "docs/index.md").read_text(encoding="utf-8")
    assert pages - {"index.md"} <= set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def test_recipes_are_valid() -> None:
    """Whole recipes in the guides are valid, and so are the keys that `SET=` sets."""
    recipes = [yaml.safe_load(each.text) for each in blocks("yaml") if "task:" in each.text]
    assert recipes
    for data in recipes:
        validate(data, "of a guide")
    for page, words in of_tool("make"):
        for word in words:
            if word.startswith("SET="):
                overrides = dict(pair.split("=", 1) for pair in word[4:].split())
                values = {key: yaml.safe_load(value) for key, value in overrides.items()}
                load_recipe("nuscenes" if "source_multiple" in values else "det", values)
                assert page.exists()


def test_messages_that_are_explained_are_said() -> None:
    """Messages that the guides quote are in the source."""
    sources = [*REPOSITORY.glob("lzu_export/**/*.py"), *REPOSITORY.glob("calibration/**/*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # join adjacent string literals
    quoted = []
    for page in ("checkpoint.md", "troubleshooting.md"):
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        table = text.split("| message |")[1]
        quoted += re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert len(quoted) > 20
    for words in quoted:
        assert words in source, words


def test_python_compiles() -> None:
    for block in blocks("python"):
        compile(block.text, block.name, "exec")


def test_the_new_model_has_50_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 50


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as in the guides, with a tiny bundle in place of the demonstration's."""
    made = tmp_path_factory.mktemp("guides")
    names = ("Makefile", "pyproject.toml", "constraints.txt", "docs", "lzu_export", "plugins")
    for name in names:
        (made / name).symlink_to(REPOSITORY / name)
    ready = made / ".venv"
    ready.mkdir()
    # The environment of the tests replaces the one that `make` would set up.
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (Path(sys.prefix) / name).exists():
            (ready / name).symlink_to(Path(sys.prefix) / name)
    extras = re.search(r"^EXTRAS \?= (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert extras is not None
    (ready / f".ready-{extras[1].replace(',', '-')}").touch()
    outcome = export(tiny_recipe(made, name="det-demo"), made / "build")
    assert outcome.folder == made / FINISHED
    saliency = np.full((45, 45), 0.1)
    saliency[15:25, 18:32] = 1  # a constant saliency would be rejected
    np.save(made / "my.npy", saliency)
    return made


@pytest.fixture(scope="module")
def all_targets(checkout: Path) -> Path:
    """The checkout with a uniform bundle too, in both precisions for both targets."""
    pytest.importorskip("tensorrt_rtx")
    whole: dict[str, Any] = {
        "name": "det-demo",
        "precision": ["fp32", "fp16"],
        "targets": ["onnxruntime", "tensorrt-rtx"],
        "tolerances": {"scores": {"fp16": 0.05}},  # untrained scores are all near the prior
    }
    for variant in ("uniform", "fixed"):
        export(tiny_recipe(checkout, variant=variant, **whole), checkout / "build")
    return checkout


def run(block: Block, folder: Path) -> None:
    """Run a block in the checkout, as if a user pasted it; Python in this process."""
    if block.language == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            exec(compile(block.text, block.name, "exec"), {"__name__": "__main__"})
        return
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(
            [*(str(REPOSITORY / name) for name in ("", "benchmarks", "calibration")),
             os.environ.get("PYTHONPATH", "")]
        ),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euc", block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


RUN = [each for each in blocks("sh", "python") if each.mark]


@pytest.mark.parametrize(
    "block", [each for each in RUN if each.mark == "runs"], ids=lambda block: block.name
)
def test_commands_run(block: Block, checkout: Path) -> None:
    run(block, checkout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [each for each in RUN if each.mark != "runs"], ids=lambda block: block.name
)
def test_long_commands_run(block: Block, all_targets: Path) -> None:
    run(block, all_targets)


def test_the_new_model_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example exports in this process, verifies every engine and opens the bundle."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE))
    assert "(240, 320)" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "build/seg/own-fixed-0.5x")
    assert {parity.engine: parity.status for parity in manifest.parity} == {
        "onnxruntime/fp32": "passed",
        "onnxruntime/fp16": "passed",
        "emulated/fp16": "graph passed",
    }
    assert manifest.recipe.custom_model == "own-segmenter"


def test_marks_are_known() -> None:
    assert {each.mark for each in RUN} == {"runs", "runs: slow"}
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert text.count("<!-- runs") == len(RUN), "a mark stands right before its block"
