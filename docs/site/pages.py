"""Hook of MkDocs: the site has the repository's own Markdown files, at their own paths.

So a link between them works in the site as it does in a checkout, also from docs/ to plugins/.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
PATTERNS = (
    "*.md",
    "docs/*.md",
    "docs/*.json",
    "docs/api/*.md",
    "docs/images/*",
    "docs/site/*.css",
    "docs/examples/*",
    "plugins/**/*.md",
    "plugins/**/*.yaml",
    "plugins/Makefile",
    "plugins/kernels/*.h",
    "benchmarks/examples/*.py",
)
"""The pages, and the files that they link to."""


def on_files(files: Files, config: Any) -> Files:
    """Return the theme's files and those of the repository."""
    theme = [each for each in files if each.src_dir != config.docs_dir]
    found = sorted({path for pattern in PATTERNS for path in REPOSITORY.glob(pattern)})
    names = {path: path.relative_to(REPOSITORY).as_posix() for path in found if path.is_file()}
    own = [File.generated(config, names[path], abs_src_path=str(path)) for path in names]
    return Files([*theme, *own])
