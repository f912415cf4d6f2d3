"""Every public name is on a page of docs/api, with a running example and a full docstring."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted((REPOSITORY / "docs/api").glob("*.md"))
SITE = REPOSITORY / "docs/site/mkdocs.yml"
PACKAGES = ("lzu_export", "lzu_export.runtime", "lzu_benchmarks.harness")
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
DIRECTIVES = re.findall(r"^::: (\S+)$", "\n".join(TEXT.values()), re.MULTILINE)
SLOW = {"export": "it exports a network"}
"""Pages whose examples take seconds, with the reason."""


def find(path: str) -> Any:
    """Return the object of a directive."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def public_names() -> list[tuple[str, str]]:
    """Return the package and each name that it declares public."""
    packages = [(name, importlib.import_module(name)) for name in PACKAGES]
    return [(name, each) for name, package in packages for each in package.__all__]


def examples(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", TEXT[page], flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("package", "name"), public_names(), ids=[".".join(each) for each in public_names()]
)
def test_every_public_name_is_on_a_page_and_in_an_example(package: str, name: str) -> None:
    if name == "__version__":  # a string, without a docstring
        assert f"`{package}.{name}`" in TEXT[REPOSITORY / "docs/api/index.md"]
        return
    wanted = getattr(importlib.import_module(package), name)
    assert any(find(path) is wanted for path in DIRECTIVES), f"::: {package}.{name}"
    used = [
        node.id if isinstance(node, ast.Name) else node.attr
        for page in PAGES
        for code in examples(page)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Name | ast.Attribute)
    ]
    assert name in used, f"no example uses {name}"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else [], id=page.stem)
        for page in PAGES
        if examples(page)
    ],
)
def test_examples_run(
    page: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The blocks of a page run one after another, beside a frame and small bundles."""
    import cv2

    from lzu_export.tasks.pytorch import noise_frame

    code = "\n".join(examples(page))
    for folder, task, name in re.findall(r'"(build/(\w+)(?:/|")(?:([\w.-]+)")?)', code):
        names = [name] if name else re.findall(r'"(\w+-0\.5x)"', code)
        fixture = "tiny_bundle" if task == "det" else f"tiny_{task}_bundle"
        for each in names:
            place = tmp_path / "build" / task / each
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(request.getfixturevalue(fixture))
        assert folder
    cv2.imwrite(str(tmp_path / "frame.png"), noise_frame((96, 160), 5))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": page.stem})
    assert capsys.readouterr().out.strip()


def shown_members(path: str) -> Iterator[tuple[str, Any]]:
    """Yield the name and the object of a directive, and those of its members on the page."""
    found = find(path)
    yield path, found
    if inspect.isclass(found):
        for name, each in sorted(inspect.getmembers_static(found)):
            function = each.__func__ if isinstance(each, classmethod | staticmethod) else each
            module = getattr(getattr(function, "fget", function), "__module__", None) or ""
            own = inspect.isfunction(function) or isinstance(function, property | cached_property)
            if (
                own
                and module.startswith("lzu_")
                and all(not re.search(hidden, name) for hidden in FILTERS)
            ):
                yield f"{path}.{name}", function


def filters() -> list[str]:
    """Return the patterns of the names that the site leaves out."""

    class Loader(yaml.SafeLoader):
        """Reads a configuration that names Python functions."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    options = yaml.load(SITE.read_text(encoding="utf-8"), Loader)
    (handlers,) = (each for each in options["plugins"] if isinstance(each, dict))
    found: list[str] = handlers["mkdocstrings"]["handlers"]["python"]["options"]["filters"]
    assert all(each.startswith("!") for each in found)
    return [each[1:] for each in found]


FILTERS = filters()


def section(docstring: str, name: str) -> str:
    """Return the text of a section of a docstring, without its indentation; empty if none."""
    found = re.search(rf"^{name}:\n((?:[ ]{{4,}}.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def raises(function: Any) -> bool:
    """Whether the body of a function itself raises an `LzuError`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(
        isinstance(node, ast.Raise) and "LzuError" in ast.dump(node) for node in ast.walk(tree)
    )


@pytest.mark.parametrize("path", DIRECTIVES)
def test_docstrings_are_complete(path: str) -> None:
    """Every argument is explained, every error named, and every field has its own text."""
    for name, each in shown_members(path):
        docstring = inspect.getdoc(each) or ""
        assert docstring, f"{name} has no docstring"
        if inspect.isfunction(each):
            listed = re.findall(r"^(\w+):", section(docstring, "Args"), re.MULTILINE)
            taken = [n.lstrip("*") for n in inspect.signature(each).parameters]
            assert listed == [n for n in taken if n not in ("self", "cls")], name
            assert "LzuError:" in section(docstring, "Raises") or not raises(each), name
    found = find(path)
    if inspect.isclass(found):
        missing = set(fields_without_text(found))
        assert not missing, f"{path} has fields without a text: {sorted(missing)}"


def fields_without_text(kind: type) -> Iterator[str]:
    """Yield the annotated fields of a class of this project that no string follows."""
    if not (is_dataclass(kind) or hasattr(kind, "_fields") or hasattr(kind, "model_fields")):
        return
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not text and not field.target.id.startswith("_"):
                yield field.target.id


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_the_api_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve()
        assert file.is_file(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]
        assert not anchor or anchor in slugs, target


def test_every_page_is_in_the_index() -> None:
    index = TEXT[REPOSITORY / "docs/api/index.md"]
    assert {page.name for page in PAGES} - {"index.md"} <= set(re.findall(r"\((\w+\.md)\)", index))


def test_links_stay_within_the_site() -> None:
    """What a page links to is among the site's files; the strict build takes no other links."""
    tree = ast.parse((SITE.parent / "pages.py").read_text(encoding="utf-8"))
    (patterns,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PATTERNS"
    )
    site = {path for pattern in patterns for path in REPOSITORY.glob(pattern)}
    pages = [path for path in site if path.suffix == ".md"]
    assert len(pages) > 30
    for page in pages:
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                assert (page.parent / target).resolve() in site, f"{page}: {target}"
