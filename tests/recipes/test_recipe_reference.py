"""docs/recipes.md is what the schema says, and every key has a meaning."""

from pathlib import Path

import pytest

from lzu_export.recipes.postprocessing import KINDS
from lzu_export.recipes.reference import reference, sections_of
from lzu_export.recipes.tasks import TASKS
from postprocess_samples import own_task

PAGE = Path(__file__).resolve().parents[2] / "docs/recipes.md"


def test_the_page_is_current() -> None:
    """`python -m lzu_export.recipes.reference > docs/recipes.md` makes it so."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_key_has_a_meaning() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("task", TASKS.names())
def test_every_key_of_a_recipe_is_listed(task: str) -> None:
    page = reference()
    fields = TASKS.find(task).recipe.model_fields
    for name in set(fields) - {"model", "postprocess"}:
        assert f"| `{name}` |" in page, name
    for section in ("model", "postprocess"):
        for kind in sections_of(fields[section].annotation):
            for name in kind.model_fields:
                assert f"| `{section}.{name}` |" in page, name


def test_a_section_of_several_kinds_has_a_table_for_each() -> None:
    with own_task():
        tables = reference().split("\n## Task `own`: `postprocess` of kind ")
    assert len(tables) == 1 + len(KINDS)
    for (kind, section), table in zip(KINDS.items(), tables[1:], strict=True):
        title, _, text, *rows = table.splitlines()
        assert title == f"`{kind}`"
        assert section.__doc__ is not None
        assert text.split()[:5] == section.__doc__.split()[:5]
        keys = [row for row in rows if row.startswith("| `")]
        assert len(keys) == len(section.model_fields)
        assert not [key for key in keys if key.endswith("|  |")]
