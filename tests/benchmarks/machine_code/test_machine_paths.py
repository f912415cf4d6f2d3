"""Reading machine code: blocks, loops, the counted path and one warp's own time."""

from pathlib import Path

import pytest

from lzu_benchmarks.machine_code import latency, pipes
from lzu_benchmarks.machine_code.cards import ARCHITECTURES, resident_blocks
from lzu_benchmarks.machine_code.paths import Counter, Rules, flat
from lzu_benchmarks.machine_code.sass import Instruction, Listing, Sources, parse
from lzu_benchmarks.machine_code.toolkit import find_toolkit
from lzu_export.errors import LzuError

SOURCE = """\
kernel()
for (int i = 0; i < count; ++i)
    sum += input[i];
if (padded)
    clear();
output = sum;
"""

LISTING = """\
.text.kernel:
	//## File "{file}", line 1
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
	//## File "{file}", line 3
        /*0010*/                   LDG.E R4, [R2.64] ;
        /*0020*/                   LDG.E R8, [R2.64+0x4] ;
        /*0030*/                   FADD R0, R4, R0 ;
        /*0040*/                   FADD R0, R8, R0 ;
	//## File "{file}", line 2
        /*0048*/                   IADD3 R3, R3.reuse, 0x2, RZ ;
        /*0050*/                   ISETP.GE.AND P0, PT, R3, c[0x0][0x160], PT ;
        /*0060*/              @!P0 BRA `(.L_x_0) ;
	//## File "{file}", line 4
        /*0070*/               @P1 BRA `(.L_x_1) ;
	//## File "{file}", line 5
        /*0080*/                   I2F R5, R6 ;
        /*0090*/                   MUFU.RCP R5, R5 ;
        /*00a0*/                   CALL.REL.NOINC `($__internal_0_$__div) ;
.L_x_1:
	//## File "{file}", line 6
        /*00b0*/                   STG.E [R12.64], R0 ;
        /*00c0*/                   EXIT ;
.L_x_2:
        /*00d0*/                   BRA `(.L_x_2) ;
        $__internal_0_$__div:
        /*00e0*/                   FFMA R0, R0, R0, R0 ;
"""


SWITCH = """\
.text.kernel:
	//## File "{file}", line 1
        /*0000*/                   LDC R8, c[0x2][R0] ;
        /*0010*/                   BRX R8 -0x20 (*"BRANCH_TARGETS .L_x_0,.L_x_1"*) ;
.L_x_0:
	//## File "{file}", line 5
        /*0020*/                   MUFU.RCP R5, R5 ;
        /*0030*/                   EXIT ;
.L_x_1:
	//## File "{file}", line 6
        /*0040*/                   FADD R0, R4, R0 ;
        /*0050*/                   FADD R0, R4, R0 ;
        /*0060*/                   EXIT ;
"""


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    source = tmp_path / "kernel.h"
    source.write_text(SOURCE)
    return parse(LISTING.format(file=source))["kernel"]


def executed(listing: Listing, **rules: dict[str, float]) -> dict[str, float]:
    """Count the opcodes on the path of the listing."""
    given = Rules(**{"passes": {"i < count": 10.0}, "shares": {}, **rules})
    found: dict[str, float] = {}
    for instruction, times in flat(Counter(listing, given, Sources()).path()):
        found[instruction.name] = found.get(instruction.name, 0.0) + times
    return found


def test_functions_behind_a_kernel_are_not_read(listing: Listing) -> None:
    assert "FFMA" not in {each.name for each in listing.instructions}
    assert listing.labels[".L_x_1"] == 12


def test_a_loop_counts_by_its_passes_and_a_call_of_another_function_is_not_taken(
    listing: Listing,
) -> None:
    found = executed(listing)
    assert found["LDG"] == 10  # two passes of the source in one of the machine code
    assert found["STG"] == 1
    assert "MUFU" not in found


def test_a_loop_without_a_number_of_passes_is_named(listing: Listing) -> None:
    with pytest.raises(LzuError, match=r"kernel.h:2 has no number of passes.*i < count"):
        executed(listing, passes={})


def test_shares_scale_a_statement(listing: Listing) -> None:
    assert executed(listing, shares={"output = sum": 0.25})["STG"] == 0.25


def test_a_warp_waits_for_its_loads(listing: Listing) -> None:
    rules = Rules({"i < count": 2.0}, {})
    walk = latency.Walk()
    sources = Sources()
    walk.follow(Counter(listing, rules, sources).path(), latency.NearTest((), sources))
    assert walk.in_flight == 2
    assert latency.FAR < walk.time < latency.FAR + 40
    near = latency.Walk()
    near.follow(Counter(listing, rules, sources).path(), latency.NearTest(("input[i]",), sources))
    assert near.in_flight == 0
    assert near.time < latency.FAR


@pytest.mark.parametrize(
    ("opcode", "pipe"),
    [
        ("FFMA", "fma"), ("IMAD.WIDE", "heavy"), ("IADD3", "alu"), ("I2FP.F32.S32", "alu"),
        ("I2F.S8", "xu"), ("LDG.E.128", "lsu"), ("UIADD3", ""), ("BRA", ""),
    ],
)  # fmt: skip
def test_pipes(opcode: str, pipe: str) -> None:
    assert pipes.pipe_of(Instruction("", opcode, "R0, R1", ())) == pipe


def test_wide_accesses_count_by_their_words() -> None:
    wide = Instruction("", "LDG.E.128", "R4, [R2.64]", ())
    assert wide.written() == {"R4", "R5", "R6", "R7"}
    assert pipes.count([(wide, 2.0)])["lsu"] == 8
    assert pipes.cycles(pipes.count([(wide, 1.0)]))["lsu"] == 4


def test_resident_blocks() -> None:
    orin = ARCHITECTURES["87"]
    assert resident_blocks(orin, 64, 0, 256) == 4  # 65536 registers
    assert resident_blocks(orin, 20, 0, 256) == 6  # 48 warps
    assert resident_blocks(orin, 20, 40 << 10, 32) == 4  # shared memory
    assert resident_blocks(orin, 20, 0, 32) == 16  # blocks


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lzu_benchmarks.machine_code.toolkit.HOMES", ())
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(LzuError, match=r"there is no nvcc: set CUDA_HOME"):
        find_toolkit("", tmp_path)


@pytest.mark.parametrize(("ruled_out", "opcodes"), [("clear();", "FADD"), ("output = ", "MUFU")])
def test_a_switch_leads_to_each_of_its_cases(ruled_out: str, opcodes: str, tmp_path: Path) -> None:
    source = tmp_path / "kernel.h"
    source.write_text(SOURCE)
    made = parse(SWITCH.format(file=source))["kernel"]
    path = Counter(made, Rules({}, {ruled_out: 0.0}), Sources()).path()
    assert {each.name for each, share in flat(path)} == {"LDC", "BRX", opcodes, "EXIT"}
