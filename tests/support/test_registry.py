"""Named objects: of a table, of installed packages, and registered."""

import sys
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest

from lzu_export.errors import LzuError
from lzu_export.support import registry
from lzu_export.support.registry import Registry

TABLE = {"ordered": "collections:OrderedDict", "bad": "lzu_export.no_such_module:THING"}


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """Two of a table and one that a package announces."""
    entry = SimpleNamespace(name="apart", value="apart:SHAPE", load=lambda: "a package's")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] * (group == "a.group"))
    return Registry("shape", TABLE, "a.group")


def test_the_table_comes_first_and_is_imported_when_asked(shapes: Registry[Any]) -> None:
    assert shapes.names() == ["ordered", "bad", "apart"]
    assert "bad" in shapes  # though it does not import
    assert "round" not in shapes
    assert shapes.find("ordered") is OrderedDict
    assert shapes.find("apart") == "a package's"
    assert "lzu_export.no_such_module" not in sys.modules


def test_a_registered_object_hides_others_until_it_is_forgotten(shapes: Registry[Any]) -> None:
    shapes.register("ordered", "own")
    shapes.register("another", "own, too")
    assert shapes.names() == ["ordered", "bad", "another", "apart"]
    assert (shapes.find("ordered"), shapes.find("another")) == ("own", "own, too")
    for name in ("ordered", "another", "another"):
        shapes.forget(name)
    assert shapes.find("ordered") is OrderedDict
    assert "another" not in shapes


def test_an_unknown_name_is_refused_with_what_there_is(shapes: Registry[Any]) -> None:
    with pytest.raises(LzuError, match=r"no shape round; choose one of ordered, bad, apart, or"):
        shapes.find("round")


@pytest.mark.parametrize("error", [ImportError("no module gone"), AttributeError("no SHAPE")])
def test_a_package_that_does_not_import_is_named(
    error: Exception, shapes: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        raise error

    entry = SimpleNamespace(name="gone", value="gone:SHAPE", load=load)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(LzuError, match=r"shape gone is announced .* gone:SHAPE does not load \(no"):
        shapes.find("gone")
