"""The library works alone: nothing of lzu_export is imported, and its README's example runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import lzu_calibration

SOURCE = Path(lzu_calibration.__file__).parent
README = SOURCE.parent / "README.md"
BLOCKED = "import sys\nsys.modules['lzu_export'] = None  # an import of it fails\n"


def test_no_module_imports_lzu_export() -> None:
    """At any place, functions included."""
    imported = {
        name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "lzu_calibration.histogram" in imported
    assert not {name for name in imported if name.startswith(("lzu_export", "lzu_benchmarks"))}


def test_the_readme_runs_without_lzu_export(tmp_path: Path) -> None:
    """In a process in which lzu_export cannot be imported."""
    example = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    code = f"{BLOCKED}{example}\nprint(len(ranges))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
    assert (tmp_path / "calibration.json").is_file()
