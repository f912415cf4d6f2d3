"""Parse the output of tegrastats, NVIDIA's monitor on Jetson boards; `power` runs it."""

import re
from collections.abc import Sequence

from pydantic import Field

from lzu_export.support.section import Section

WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "VIN")
"""Power rails that feed all others; on boards without one, all rails are added up."""


class Line(Section):
    """One line of tegrastats; values that a board does not report are empty or None."""

    memory: float | None = None
    """Memory used by all processes, in MiB; processor and GPU share it."""
    cpu_mhz: tuple[float, ...] = ()
    gpu_mhz: float | None = None
    celsius: dict[str, float] = Field(default_factory=dict)
    rails: dict[str, float] = Field(default_factory=dict)
    """Power of each rail in watts, by the rail's name."""

    @property
    def watts(self) -> float | None:
        """Power of the whole board in watts: the main rail's, or the sum of all rails."""
        for name in WHOLE_BOARD:
            if name in self.rails:
                return self.rails[name]
        return sum(self.rails.values()) if self.rails else None


def parse(line: str) -> Line:
    """Parse one line of tegrastats from any release of JetPack 4 to 7."""
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
    """Return the command that prints a line every `milliseconds`."""
    return ["tegrastats", "--interval", str(milliseconds)]
