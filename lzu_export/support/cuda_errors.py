"""Errors of CUDA after which a process can do no more work on a GPU."""

LOST = "end this process: CUDA runs nothing more in it"
"""Remedy for an error in `FATAL`."""
FATAL = {
    214: "uncorrectable ECC error encountered",
    220: "uncorrectable NVLink error detected during the execution",
    226: "Invalid access of peer GPU memory over nvlink or a hardware error",
    700: "an illegal memory access was encountered",
    702: "the launch timed out and was terminated",
    710: "device-side assert triggered",
    714: "hardware stack error",
    715: "an illegal instruction was encountered",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    721: "tensor memory not completely freed",
}
"""CUDA's text by number of each error that later calls return, too, whatever they do. CUDA reports
such an error at some call after the work that failed. Runtime and driver share the numbers."""


def fatal_error(message: str) -> int | None:
    """Return the number of the fatal error whose text is in a message; None if there is none."""
    return next((number for number, text in FATAL.items() if text in message), None)
