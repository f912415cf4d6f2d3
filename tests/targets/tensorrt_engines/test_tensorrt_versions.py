"""What is known of TensorRT's releases reaches those whom it concerns, and nobody else."""

import pytest

from lzu_export.errors import LzuError
from lzu_export.targets.cuda.memory import Device
from lzu_export.targets.tensorrt.versions import check_version, numbers

ORIN = Device(0, "Orin", "8.7", integrated=True)
THOR = Device(0, "Thor", "11.0", integrated=True)
ADA = Device(0, "RTX 4090", "8.9", integrated=False)


@pytest.mark.parametrize(
    ("version", "device", "precision", "sampling", "word"),
    [
        ("10.14.1.48", ADA, "fp16", 1, "GridSample"),
        ("10.15.1", ORIN, "int8", 4, "GridSample"),
        ("10.16.2.10", ORIN, "int8", 0, "dequantize"),
        ("10.16.2.10", ORIN, "fp16", 0, None),
        ("10.16.2.10", THOR, "int8", 0, None),
        ("10.15.1", ORIN, "int8", 0, None),
        ("10.14.1.48", ADA, "fp32", 1, None),
        ("10.14.1.48", ADA, "fp16", 0, None),
        ("10.14.0", ADA, "fp16", 1, None),
        ("10.13.3", THOR, "fp32", 0, "Thor"),
        ("10.15.1", THOR, "fp32", 0, None),
        ("10.3.0", ORIN, "int8", 0, "checkLinks"),
        ("10.7.0", ORIN, "int8", 0, None),
        ("11.4.0", ORIN, "fp32", 0, "JetPack"),
        ("11.4.1", ORIN, "fp32", 0, None),
        ("11.4.0", ADA, "fp32", 0, None),
        ("12.0.0", ADA, "fp32", 0, "newer"),
    ],
)
def test_who_is_told(
    version: str, device: Device, precision: str, sampling: int, word: str | None
) -> None:
    notes = check_version(version, device, precision, sampling)
    assert len(notes) == (word is not None)
    assert all(word in note and version in note for note in notes if word)


@pytest.mark.parametrize("version", ["10.3.0", "10.14.0", "11.4.1"])
def test_engines_for_several_cards(version: str) -> None:
    (note,) = check_version(version, ADA, "fp16", portable=True)
    assert "lzu-export verify" in note
    assert "--hardware" in note
    assert check_version(version, ADA, "fp16", portable=False) == []


@pytest.mark.parametrize("version", ["8.6.2", "10.2.0.post1", "10.0.1"])
def test_too_old_a_release_is_refused(version: str) -> None:
    with pytest.raises(LzuError, match="older than 10.3") as caught:  # noqa: RUF043
        check_version(version, ORIN)
    assert version in str(caught.value)


def test_versions_are_read() -> None:
    assert numbers("10.16.2.10") == (10, 16, 2, 10)
    assert numbers("10.13.3.9.post1") == (10, 13, 3, 9, 1)
