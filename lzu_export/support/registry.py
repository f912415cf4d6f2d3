"""Table of named objects that are imported on first use and that others may extend."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Generic, TypeVar, cast

from lzu_export.errors import LzuError
from lzu_export.support.entry_points import entry_points

Found = TypeVar("Found")


class Registry(Generic[Found]):
    """Objects by name, from a table of this package, installed packages and a program's own calls.

    A registered object takes precedence over the table, and the table over installed packages.
    """

    def __init__(self, what: str, table: Mapping[str, str], group: str) -> None:
        """Take the table without importing anything.

        Args:
            what: noun for an object in error messages, such as `task`.
            table: `module:object` by name.
            group: group of entry points by which installed packages announce objects.
        """
        self._what, self._table, self._group = what, dict(table), group
        self._registered: dict[str, Found] = {}
        self._loaded: dict[str, Found] = {}

    def register(self, name: str, found: Found) -> None:
        """Add an object in this process; a later one of the same name replaces it."""
        self._registered[name] = found

    def forget(self, name: str) -> None:
        """Remove an object that `register` added; a name that was not registered changes
        nothing.
        """
        self._registered.pop(name, None)

    def __contains__(self, name: object) -> bool:
        """Whether an object has this name, without importing it."""
        return name in self._registered or name in self._table or name in self._installed()

    def names(self) -> list[str]:
        """Return all names, without an import: the table's in its order, then others sorted."""
        others = {*self._registered, *self._installed()} - self._table.keys()
        return [*self._table, *sorted(others)]

    def others_first(self) -> list[Found]:
        """Return all objects: registered and installed ones, then the table's in its order.

        Raises:
            LzuError: an installed package announces an object that does not load.
        """
        names = sorted(self.names(), key=lambda name: name in self._table)
        return [self.find(name) for name in names]

    def find(self, name: str) -> Found:
        """Return the object of a name, imported on first use.

        Raises:
            LzuError: no object has this name, or an installed package announces it and it does not
                load.
        """
        if name in self._registered:
            return self._registered[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Found:
        if name in self._table:
            return cast(Found, load_object(self._table[name]))
        entry = self._installed().get(name)
        if entry is None:
            raise LzuError(
                f"there is no {self._what} {name}; choose one of {', '.join(self.names())}, or "
                f"install the package that announces it as an entry point of {self._group}"
            )
        try:
            return cast(Found, entry.load())
        except (ImportError, AttributeError) as error:
            raise LzuError(
                f"{self._what} {name} is announced by an installed package but {entry.value} does "
                f"not load ({error}); install that package again, or fix its entry point"
            ) from error

    def _installed(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self._group)}


def load_object(place: str) -> object:
    """Import the object at `module:object`.

    Raises:
        ImportError: the module does not import.
        AttributeError: the module has no such object.
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
