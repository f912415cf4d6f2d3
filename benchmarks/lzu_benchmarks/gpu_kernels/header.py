"""Structs of `plugins/kernels/lzu_kernels.h` as classes of ctypes."""

import ctypes as c
import re
from typing import Any

from lzu_export.support.checkout import PLUGINS

KERNELS = PLUGINS / "kernels"
SCALARS = {"int32_t": c.c_int32, "float": c.c_float}
_MEMBER = re.compile(r"^ {4}(?:struct )?(\w+)(?: const)?(\*?) (\w+)(?:\[(\w+)\])?;", re.M)


class Header:
    """The header's structs and numbers by name."""

    def __init__(self, text: str) -> None:
        """Read the text of the header."""
        self._text = text
        self._structs: dict[str, Any] = {}

    def number(self, name: str) -> int:
        """Return the value of a `#define`, or of an enumerator with a value."""
        found = re.search(rf"^#define {name} (\d+)$|^ +{name} = (\d+),", self._text, re.M)
        assert found is not None, f"lzu_kernels.h has no {name}"
        return int(found[1] or found[2])

    def struct(self, name: str) -> Any:
        """Return a struct as a class, the same one each time."""
        if name not in self._structs:
            body = re.search(rf"^struct {name}\n{{\n(.*?)^}};", self._text, re.M | re.S)
            assert body is not None, f"lzu_kernels.h has no struct {name}"
            fields = [self._field(*each) for each in _MEMBER.findall(body[1])]
            self._structs[name] = type(name, (c.Structure,), {"_fields_": fields})
        return self._structs[name]

    def _field(self, kind: str, pointer: str, name: str, length: str) -> tuple[str, Any]:
        member: Any = c.c_void_p if pointer else SCALARS.get(kind) or self.struct(kind)
        if length:
            member *= int(length) if length.isdigit() else self.number(length)
        return name, member


def read_header() -> Header:
    """Return the header of this checkout."""
    return Header((KERNELS / "lzu_kernels.h").read_text(encoding="utf-8"))
