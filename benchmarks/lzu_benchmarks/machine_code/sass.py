"""Read the disassembler's listing of a kernel: instructions, labels and the source they are of."""

import re
from dataclasses import dataclass, field
from pathlib import Path

Frame = tuple[str, int]
"""File and line of a source statement."""

_SECTION = re.compile(r"^\.text\.(\w+):")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_FUNCTION = re.compile(r"^\s*\$__internal")
_FRAME = re.compile(r'//## File "([^"]+)", line (\d+)')
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[T\d]+)\s+)?([\w.]+)\s*(.*?)\s*;")
_REGISTER = re.compile(r"\b(U?R\d+|U?P\d)\b")


@dataclass(frozen=True)
class Instruction:
    """A machine instruction with the statements it comes from, the innermost inlined one first."""

    predicate: str
    opcode: str
    operands: str
    frames: tuple[Frame, ...]

    @property
    def name(self) -> str:
        """Opcode without its modifiers."""
        return self.opcode.partition(".")[0]

    @property
    def width(self) -> int:
        """Bytes that a memory instruction moves for a thread."""
        found = re.search(r"\.(?:U|S)?(8|16|64|128)\b", self.opcode)
        return int(found[1]) // 8 if found else 4

    @property
    def target(self) -> str:
        """Label that a branch jumps to, or an empty string."""
        found = re.search(r"`\((.*?)\)", self.operands)
        return found[1] if found else ""

    @property
    def table(self) -> list[str]:
        """Labels that a branch through a table of targets, as of a `switch`, may jump to."""
        _, found, targets = self.operands.partition("BRANCH_TARGETS")
        return re.findall(r"\.L_x_\d+", targets) if found else []

    def written(self) -> set[str]:
        """Return the registers that are written; wide results write several."""
        if self.name in ("STG", "STS", "STL", "BRA", "BAR", "EXIT", "BSSY", "BSYNC"):
            return set()
        first, *rest = self.operands.split(",")
        found = _REGISTER.findall(first)
        if "SETP" in self.name or self.name in ("PLOP3", "R2P"):
            found += _REGISTER.findall(rest[0]) if rest else []
            return set(found)
        wide = 2 if ".WIDE" in self.opcode or ".64" in self.opcode else 1
        wide = max(wide, self.width // 4 if self.name in ("LDG", "LDS", "LDC") else 1)
        return {_next(each, i) for each in found[:1] for i in range(wide)}

    def read(self) -> set[str]:
        """Return the registers that are read, the predicate of the instruction among them."""
        parts = self.operands.split(",")
        if self.name not in ("STG", "STS", "STL", "BRA"):
            parts = parts[1:]
        found = set(_REGISTER.findall(",".join(parts))) | set(_REGISTER.findall(self.predicate))
        if self.name in ("STG", "STS", "STL") and found:
            value = _REGISTER.findall(parts[-1])
            found |= {_next(each, i) for each in value[:1] for i in range(max(1, self.width // 4))}
        if ".64" in self.operands or ".WIDE" in self.opcode:
            found |= {_next(each, 1) for each in tuple(found) if each.startswith("R")}
        return found


def _next(register: str, step: int) -> str:
    head = register.rstrip("0123456789")
    return f"{head}{int(register[len(head) :]) + step}"


@dataclass
class Listing:
    """Instructions of one kernel in order, and the index that each label stands before."""

    symbol: str
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> dict[str, Listing]:
    """Read the output of `nvdisasm -c -gi`: kernels by their symbols.

    Functions of the compiler that follow a kernel in its section, such as slow divisions, are left
    out; a call of one has a target that is no label of the listing.
    """
    found: dict[str, Listing] = {}
    listing, outside = Listing(""), True
    frames: list[Frame] = []
    fresh = False
    for line in text.splitlines():
        if section := _SECTION.match(line):
            listing, outside = found.setdefault(section[1], Listing(section[1])), False
            frames = []
        elif _FUNCTION.match(line):
            outside = True
        elif outside:
            continue
        elif label := _LABEL.match(line):
            listing.labels[label[1]] = len(listing.instructions)
        elif frame := _FRAME.search(line):
            frames = [*frames, (frame[1], int(frame[2]))] if fresh else [(frame[1], int(frame[2]))]
            fresh = True
        elif read := _INSTRUCTION.match(line):
            made = Instruction(read[2] or "", read[3], read[4], tuple(frames))
            listing.instructions.append(made)
            fresh = False
    return found


class Sources:
    """Text of source lines, read once per file."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def line(self, frame: Frame) -> str:
        """Return the text of a line without its indentation, or an empty string."""
        name, number = frame
        if name not in self._files:
            path = Path(name)
            self._files[name] = (
                path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            )
        lines = self._files[name]
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""
