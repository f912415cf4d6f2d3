"""Parse tegrastats, NVIDIA's monitor on Jetson boards. `power` runs it."""

import re
from collections.abc import Sequence

from pydantic import Field

from lzu_benchmarks.harness.summary import Section

WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed all others; boards without one have their rails added up."""


class Line(Section):
    """One line of tegrastats; values that a board does not report are empty or None."""

    memory: float | None = None
    """Used, in MB, by all processes; processor and GPU share it."""
    cpu_mhz: tuple[float, ...] = ()
    gpu_mhz: float | None = None
    celsius: dict[str, float] = Field(default_factory=dict)
    rails: dict[str, float] = Field(default_factory=dict)
    """Watts."""

    @property
    def watts(self) -> float | None:
        """Watts of the whole board if a rail reports them, else of all rails together."""
        for name in WHOLE_BOARD:
            if name in self.rails:
                return self.rails[name]
        return sum(self.rails.values()) if self.rails else None


def parse(line: str) -> Line:
    """Read one line, of any release from JetPack 4 to 7."""
    memory = re.search(r"\bRAM (\d+)/\d+MB", line)
    cores = re.search(r"\bCPU \[([^\]]*)\]", line)
    clock = re.search(r"\bGR3D_FREQ \d+%(?:@\[?(\d+))?", line)
    rails = re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)", line)
    temperatures = re.findall(r"\b([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C\b", line)
    return Line(
        memory=float(memory[1]) if memory else None,
        cpu_mhz=tuple(float(n) for n in re.findall(r"%@(\d+)", cores[1])) if cores else (),
        gpu_mhz=float(clock[1]) if clock and clock[1] else None,
        celsius={name: float(value) for name, value in temperatures if float(value) > -100},
        rails={name: float(value) / 1e3 for name, value in rails},
    )


def command(milliseconds: int) -> Sequence[str]:
    """The command that prints a line over and over."""
    return ["tegrastats", "--interval", str(milliseconds)]
