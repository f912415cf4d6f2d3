"""`lzu-export regress`: compare a bundle with an earlier state."""

from lzu_export.cli.checking import Against, check_bundle
from lzu_export.cli.options import Bundle, Device, Json, Junit, Provider


def regress(
    bundle: Bundle,
    against: Against,
    provider: Provider = None,
    device: Device = None,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's accuracy, parity and latency ratios with a stored state.

    The engines are compared with PyTorch first, as by verify. Exit status: 0 every check passed;
    1 an engine deviates from PyTorch; 2 an input is unfit; 3 a check regressed.
    """
    check_bundle(
        bundle,
        None,
        against,
        provider=provider or "cpu",
        device=device,
        junit=junit,
        as_json=as_json,
    )
