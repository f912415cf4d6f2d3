"""What the CUDA compilers make of the kernels: no GPU is needed to read their reports."""

import ctypes as c
import os
import re
import subprocess
from pathlib import Path

import pytest
from host_kernels import SOURCES, build_directory
from toolchain import KERNELS, cuda_home, tool, wheel

SAMPLING = ("Resample", "CameraZoom", "CameraBilinear")
UNITS = ("ByteUnit", "FloatUnit", "HalfUnit", "Half8Unit", "Int8UnitILi1E", "Int8UnitILi4E")
ARCHITECTURES = ("75", "80", "86", "87", "89", "90", "100", "110", "120", "121")


def compile_cubin(source: Path, architecture: str) -> tuple[Path, str]:
    """Compile for one architecture; return the binary and the assembler's report."""
    target = build_directory() / f"{source.stem}.sm_{architecture}.cubin"
    command = [str(cuda_home() / "bin/nvcc"), "-std=c++17", "-O3", f"-arch=sm_{architecture}"]
    command += ["-cubin", "-Xptxas", "-v", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unsupported gpu architecture" in done.stderr:
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return target, done.stderr


def check_report(report: str) -> int:
    """Check that no kernel spills and that sampling kernels have no stack; return their number."""
    entries = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads",
        report,
        re.S,
    )
    assert entries, report
    for name, stack, stores, loads in entries:
        assert (stores, loads) == ("0", "0"), f"{name} spills"
        if any(kind in name for kind in SAMPLING):
            assert stack == "0", f"{name} has a stack frame"
    return len(entries)


def sass(cubin: Path) -> dict[str, str]:
    """Return each kernel's instructions."""
    nvdisasm = tool("nvdisasm", "nvidia-cuda-nvdisasm")
    done = subprocess.run([nvdisasm, "-c", str(cubin)], capture_output=True, text=True, check=True)
    parts = re.split(r"\.text\.(\w+):", done.stdout)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_spills_anywhere(architecture):
    for source in SOURCES:
        check_report(compile_cubin(source, architecture)[1])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["87", "89"])
def test_packed_formats_move_16_bytes_at_a_time(architecture):
    cubin, report = compile_cubin(KERNELS / "resample.cu", architecture)
    assert check_report(report) == 10
    seen = set()
    for name, instructions in sass(cubin).items():
        loads = set(re.findall(r"\bLDG\.[\w.]+", instructions))
        stores = set(re.findall(r"\bSTG\.[\w.]+", instructions))
        wide_load = any(".128" in load for load in loads)
        width = ".64" if re.search(r"ByteUnitELi8E", name) else ".128"
        wide_store = any(width in store for store in stores)
        (unit,) = [u for u in UNITS if re.search(rf"\d{u}", name)]
        spans = not re.search(r"Li1EEEEEv", name)
        seen.add((unit, spans))
        if unit in ("Half8Unit", "Int8UnitILi4E"):
            assert wide_load, f"{name}: {loads}"
            assert wide_store, f"{name}: {stores}"
        elif spans:
            assert wide_store, f"{name}: {stores}"
        assert "LDL" not in instructions, "local memory"
        assert "DFMA" not in instructions
        assert "DADD" not in instructions, "double precision is slow on these parts"
    assert len(seen) == 10


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["87", "89"])
def test_the_camera_reads_words_and_divides_in_no_loop(architecture):
    """Every pixel format does, except the chroma of reduced NV12, which is read byte by byte."""
    cubin, report = compile_cubin(KERNELS / "camera.cu", architecture)
    assert check_report(report) == 14
    kernels = {name: code for name, code in sass(cubin).items() if "CameraZoom" in name}
    assert len(kernels) == 8
    for name, instructions in kernels.items():
        words = re.findall(r"\bLDG\.E(?:\.CONSTANT)? ", instructions)
        tables = 8  # of an axis 4 numbers
        assert len(words) >= tables + (0 if "Nv12ILb0" in name else 4), name
        assert "I2F.U8" not in instructions, "a conversion of a byte takes the slow pipe"
        assert "LDL" not in instructions, "local memory"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["87", "89"])
def test_a_thread_samples_two_rows_of_four_pixels_at_once(architecture):
    """Each of its eight pixels is read by itself: all bytes of a packed one, luma and chroma."""
    cubin, _ = compile_cubin(KERNELS / "camera.cu", architecture)
    kernels = {name: code for name, code in sass(cubin).items() if "CameraBilinear" in name}
    assert len(kernels) == 6
    for name, instructions in kernels.items():
        widths = [re.findall(rf"\bLDG\.E\.U{bits}\b", instructions) for bits in (8, 16)]
        expected = [8, 8] if "Nv12" in name else [24 if "PixelILi3E" in name else 8, 0]
        assert [len(each) for each in widths] == expected, name
        assert "I2F.U8" not in instructions, "a conversion of a byte takes the slow pipe"
        assert "LDL" not in instructions, "local memory"


@pytest.mark.slow
def test_cuobjdump_finds_every_architecture_and_ptx():
    library = os.environ.get("LZU_PLUGIN_LIBRARY", "")
    if not Path(library).is_file():
        pytest.skip("set LZU_PLUGIN_LIBRARY to what `make plugins` built")
    cuobjdump = tool("cuobjdump", "nvidia-cuda-cuobjdump")

    def listed(option: str) -> str:
        command = [cuobjdump, option, library]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    known = subprocess.run(
        [str(cuda_home() / "bin/nvcc"), "--list-gpu-code"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wanted = {f"sm_{a}" for a in ARCHITECTURES} & set(known)
    assert set(re.findall(r"sm_\d+", listed("--list-elf"))) == wanted
    assert re.findall(r"sm_\d+", listed("--list-ptx"))


# --- JetPack 6 ------------------------------------------------------------------------------------

ENTRIES = (
    *(f"lzu::Resample<lzu::{unit}, 1>" for unit in ("FloatUnit", "HalfUnit", "Half8Unit")),
    *(f"lzu::Resample<lzu::Int8Unit<{words}>, 1>" for words in (1, 4)),
    *("lzu::Resample<lzu::FloatUnit, 4>", "lzu::Resample<lzu::HalfUnit, 8>"),
    *(f"lzu::Resample<lzu::ByteUnit, {span}>" for span in (1, 8)),
    "lzu::Resample<lzu::Int8Unit<1>, 4>",
    *(
        f"lzu::CameraZoom<lzu::{pixels}, {out}>"
        for pixels in ("Packed<3>", "Packed<1>", "Nv12<true>", "Nv12<false>")
        for out in ("float", "lzu::Half")
    ),
    *("lzu::BoxKnots", "lzu::SortRuns", "lzu::MergeRuns", "lzu::KeepBoxes", "lzu::FeedBoxes"),
    *(f"lzu::InvertWarp<{side}>" for side in (8, 16, 32)),
)


@pytest.mark.slow
def test_nvrtc_12_6_compiles_every_kernel_for_an_orin():
    """NVRTC of JetPack 6's CUDA: no host headers, and the oldest compiler that is supported."""
    package = wheel("nvidia-cuda-nvrtc-cu12==12.6.85")
    directory = package / "nvidia/cuda_nvrtc/lib"
    (builtins,) = directory.glob("libnvrtc-builtins.so.12.6*")
    c.CDLL(str(builtins), mode=c.RTLD_GLOBAL)
    nvrtc = c.CDLL(str(directory / "libnvrtc.so.12"))
    headers = ("resample", "camera", "box_knots", "keep_boxes", "feed_boxes", "invert_warp")
    text = "".join(f'#include "{name}.h"\n' for name in headers)
    program = c.c_void_p()
    source = text.encode()
    assert nvrtc.nvrtcCreateProgram(c.byref(program), source, b"kernels.cu", 0, None, None) == 0
    for entry in ENTRIES:
        expression = f"lzu::runKernel<{entry}>".encode()
        assert nvrtc.nvrtcAddNameExpression(program, expression) == 0
    options = (b"--gpu-architecture=sm_87", b"--std=c++17", f"-I{KERNELS}".encode())
    code = nvrtc.nvrtcCompileProgram(program, len(options), (c.c_char_p * len(options))(*options))
    size = c.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, c.byref(size))
    log = c.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert code == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(program, c.byref(size))
    assert size.value > 10000
