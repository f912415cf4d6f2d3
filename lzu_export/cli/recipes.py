"""`lzu-export recipes`: list the recipes that ship with the package."""

from lzu_export.cli.options import Json
from lzu_export.support.terminal import print_json, say


def recipes(as_json: Json = False) -> None:
    """List the recipes that ship with the package."""
    from lzu_export.recipes import list_recipes, load_recipe

    rows = [load_recipe(name) for name in list_recipes()]
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        say(f"{row.name:24} {row.task:6} {row.path_of_sizes}, {len(row.classes)} classes")
