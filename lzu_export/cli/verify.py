"""`lzu-export verify`: compare a bundle's engines with PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lzu_export.cli.checking import Against, Live, check_bundle
from lzu_export.cli.options import (
    HIDDEN,
    Bundle,
    Device,
    Json,
    Junit,
    Provider,
    note_moved,
    renamed,
)
from lzu_export.errors import LzuError


@dataclass(frozen=True)
class MovedAgainst:
    """Options that `lzu-export regress` has now, see `Against`."""

    reference: Annotated[Path | None, HIDDEN] = None
    update: Annotated[bool, typer.Option("--update", hidden=True)] = False
    baseline: Annotated[Path | None, HIDDEN] = None
    dataset: Annotated[str | None, HIDDEN] = None
    frames: Annotated[int | None, HIDDEN] = None


def verify(
    bundle: Bundle,
    *,
    live: Live,
    provider: Provider = None,
    device: Device = None,
    junit: Junit = None,
    moved: MovedAgainst,
    limit: Annotated[str | None, renamed("--limit", "--batches")] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's engines with PyTorch at every probe point.

    Exit status: 0 every engine matches; 1 an engine deviates from PyTorch; 2 an input is unfit.
    """
    against = None
    if moved.reference is not None:
        note_moved("verify --reference", "lzu-export regress --reference")
        against = Against(**vars(moved))

    def refuse_moved() -> None:
        for name, value in vars(moved).items():
            if moved.reference is None and value is not None and value is not False:
                raise LzuError(
                    f"--{name} belongs to lzu-export regress BUNDLE --reference FILE; use that, "
                    "or leave it out"
                )

    check_bundle(
        bundle,
        live,
        against,
        provider=provider or "cpu",
        device=device,
        junit=junit,
        as_json=as_json,
        first=refuse_moved,
    )
