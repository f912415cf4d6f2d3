"""What a session refuses, it refuses in one sentence that names the input."""

from typing import Any

import numpy as np
import pytest

from lzu_export.errors import LzuError
from lzu_export.support.session import TensorSpec, check_inputs

SPECS = (TensorSpec("frame", "uint8", (1, 4, 6, 3)), TensorSpec("valid", "float32", (2,)))


def inputs(**changes: Any) -> dict[str, Any]:
    given = {"frame": np.zeros((1, 4, 6, 3), np.uint8), "valid": np.zeros(2, np.float32)}
    return {name: value for name, value in {**given, **changes}.items() if value is not None}


def test_what_fits_passes() -> None:
    check_inputs(SPECS, inputs())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": None}, "the engine's input valid is missing; give float32 of shape (2,)"),
        (
            {"valid": np.zeros(2)},
            "input valid is float64 but the engine takes float32; convert it",
        ),
        (
            {"frame": np.zeros((4, 6, 3), np.uint8)},
            "input frame has shape (4, 6, 3) but the engine takes (1, 4, 6, 3); bring it to that "
            "size",
        ),
        ({"image": np.zeros(2)}, "the engine has no input image; its inputs are frame, valid"),
    ],
)
def test_what_does_not_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LzuError) as caught:
        check_inputs(SPECS, inputs(**changes))
    assert str(caught.value) == message
