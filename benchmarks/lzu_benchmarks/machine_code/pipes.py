"""Pipes of a multiprocessor and the time that a path keeps each busy."""

from collections.abc import Iterable

from lzu_benchmarks.machine_code.cards import LANES, SCHEDULERS, WARP
from lzu_benchmarks.machine_code.sass import Instruction

FMA = ("FFMA", "FMUL", "FADD", "FFMA2", "FMUL2", "FADD2")
HEAVY = ("IMAD", "HADD2", "HFMA2", "HMUL2", "HSET2", "HSETP2", "HMNMX2", "UIMAD", "IDP", "IMUL")
XU = ("MUFU", "I2F", "F2I", "F2F", "FRND", "POPC", "FLO", "BREV", "FCHK", "I2I")
LSU = ("LDG", "STG", "LDS", "STS", "LDL", "STL", "ATOMG", "ATOMS", "RED", "SHFL", "LDSM", "ATOM")
NONE = (
    "BRA", "EXIT", "BSSY", "BSYNC", "BAR", "NOP", "CALL", "RET", "WARPSYNC", "S2R", "S2UR", "CS2R",
    "LDC", "LDCU", "BMOV", "BREAK", "YIELD", "DEPBAR", "MEMBAR", "R2UR", "VOTE", "VOTEU", "ELECT",
    "ERRBAR", "CCTL", "CREDUX", "REDUX", "ENDCOLLECTIVE", "COLLECTIVE", "PREEXIT",
)  # fmt: skip


def pipe_of(instruction: Instruction) -> str:
    """Return an instruction's pipe: a key of LANES, or an empty string for what only issues.

    Instructions of the uniform datapath, branches, barriers and constants occupy an issue slot.
    """
    name = instruction.name
    if name in FMA:
        return "fma"
    if name in HEAVY and not name.startswith("U"):
        return "heavy"
    if name in XU:
        return "xu"
    if name in LSU:
        return "lsu"
    return "" if name in NONE or name.startswith("U") else "alu"


def count(items: Iterable[tuple[Instruction, float]]) -> dict[str, float]:
    """Count the instructions of a warp by pipe, and all of them as `issue`.

    Memory instructions count by the 4-byte words that they move for a thread.
    """
    found = dict.fromkeys(("issue", *LANES), 0.0)
    for instruction, times in items:
        found["issue"] += times
        pipe = pipe_of(instruction)
        if pipe:
            found[pipe] += times * (max(1, instruction.width // 4) if pipe == "lsu" else 1)
    found["fma"] += found["heavy"]
    return found


def cycles(counts: dict[str, float]) -> dict[str, float]:
    """Return the cycles for which a warp's instructions keep each pipe of a multiprocessor busy."""
    found = {name: counts[name] * WARP / lanes for name, lanes in LANES.items()}
    return {"issue": counts["issue"] / SCHEDULERS, **found}
