"""Code shared by `verify` and `regress`: compare a bundle with PyTorch, then a stored state."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lzu_export.cli import exits
from lzu_export.cli.options import Cameras, Dataset, Fit, Frames, Resize, dataset_name
from lzu_export.support.terminal import note, print_json, say, show

if TYPE_CHECKING:
    from lzu_export.bundle import bundle as bundles
    from lzu_export.manifest.schema import Parity
    from lzu_export.verification.checks import Check
    from lzu_export.verification.regression_page import Comparison


@dataclass(frozen=True)
class Live:
    """A user's own frames, on which PyTorch runs during the command."""

    live: Annotated[
        Path | None,
        typer.Option(help="Run PyTorch on frames of your own: image, folder or video."),
    ] = None
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint the bundle was made from, for --live.")
    ] = None
    batches: Annotated[int, typer.Option(min=1, help="Number of batches to take of --live.")] = 2
    resize: Resize = False
    fit: Fit = None
    cameras: Cameras = None

    def references(self, bundle: "bundles.Bundle") -> Any:
        """Compute PyTorch's values on these frames, which replace the bundle's stored ones.

        Without frames the result is None, and the stored ones stay.
        """
        if self.live is None:
            return None
        from lzu_export.runtime.cameras import read_cameras
        from lzu_export.runtime.fitting import fit_of
        from lzu_export.verification.live_reference import live_references

        return live_references(
            bundle,
            self.live,
            self.checkpoint,
            self.batches,
            fit=fit_of(self.fit, self.resize),
            cameras=read_cameras(self.cameras) if self.cameras else None,
        )


@dataclass(frozen=True)
class Against:
    """A stored state to compare a bundle with, or to write."""

    reference: Annotated[Path, typer.Option(help="File of the stored state.")]
    update: Annotated[
        bool, typer.Option("--update", help="Store the state in --reference instead.")
    ] = False
    baseline: Annotated[
        Path | None,
        typer.Option(help="A bundle to time against, such as the uniform one."),
    ] = None
    dataset: Dataset = None
    frames: Frames = None

    def compare(
        self, bundle: "bundles.Bundle", parities: "list[Parity]", provider: str, quiet: bool
    ) -> "Comparison | None":
        """Compare the bundle with the stored state; None where the state is stored anew."""
        from lzu_export.bundle import bundle as bundles
        from lzu_export.evaluation.datasets import open_dataset
        from lzu_export.support.progress import Reporter
        from lzu_export.verification.regression import (
            compare_states,
            identity,
            measure_state,
            open_engines,
            read_state,
            refuse_others,
            write_state,
        )
        from lzu_export.verification.regression_page import Comparison

        then = None if self.update else read_state(self.reference)
        report = Reporter(quiet=quiet)
        with ExitStack() as stack:
            opened = stack.enter_context(closing(open_engines(bundle, provider)))
            recipe = opened.bundle.recipe
            name = dataset_name(self.dataset) if self.dataset else recipe.evaluation.dataset
            count = self.frames or recipe.evaluation.frames
            found = open_dataset(name, count, recipe.scored_as, recipe) if name else None
            other = None
            if self.baseline is not None:
                base = open_engines(bundles.Bundle(self.baseline), provider)
                other = stack.enter_context(closing(base))
            if then is not None:
                base_is = identity(other.bundle.recipe) if other is not None else None
                bundle_is = identity(recipe)
                refuse_others(then, bundle=bundle_is, provider=provider, baseline=base_is)
            now = measure_state(opened, parities, found, baseline=other, then=then, report=report)
        if then is None:
            write_state(self.reference, now)
            report.note(f"stored in {self.reference}")
            return None
        return Comparison(now, then, compare_states(now, then, recipe))


def check_bundle(
    folder: Path,
    live: Live | None,
    against: Against | None,
    *,
    provider: str,
    device: int | None,
    junit: Path | None,
    as_json: bool,
    page: Path | None = None,
    first: Callable[[], None] | None = None,
) -> None:
    """Compare a bundle with PyTorch, and if it matches with a stored state; print the result.

    Args:
        folder: folder of the bundle.
        live: frames on which PyTorch is run; by default the bundle's stored values are used.
        against: the stored state.
        provider: provider of ONNX Runtime.
        device: number of the GPU that the command chose; None for the default.
        junit: file to which every check is written as JUnit XML.
        as_json: print JSON.
        page: file of the page of the comparison with the stored state, see `write_regression`.
        first: check that runs before all others, so that `junit` records its error, too.

    Raises:
        LzuError: the bundle or an option is unfit.
        typer.Exit: a check failed; its code is the exit status.
    """
    from lzu_export.bundle import bundle as bundles
    from lzu_export.targets.registry import refuse_idle
    from lzu_export.verification.checks import Check, parity_checks, reported
    from lzu_export.verification.parity import verify_all
    from lzu_export.verification.regression_page import Comparison, write_regression

    checks: list[Check] = []
    comparison: Comparison | None = None
    with reported(junit, folder.resolve().name, checks):
        if first is not None:
            first()
        bundle = bundles.Bundle(folder)
        manifest = bundle.manifest
        _note_strangers(folder, bundle.check())
        refuse_idle(device, [each.target for each in manifest.engines], provider)
        references = live.references(bundle) if live is not None else None
        parities = verify_all(bundle, references, provider)
        checks += [check for parity in parities for check in parity_checks(parity)]
        if against is not None and all(parity.passed for parity in parities):
            comparison = against.compare(bundle, parities, provider, quiet=as_json)
            checks += comparison.checks if comparison is not None else []
    kept = list(comparison.checks) if comparison is not None else []
    name = folder.resolve().name
    if as_json:
        rows = [parity.model_dump(mode="json") for parity in parities]
        told = {"parity": rows, "checks": [each.to_json() for each in kept]}
        print_json(rows if against is None else told)
    else:
        _print(name, manifest, parities, kept)
    if page is not None and against is not None and not against.update:
        write_regression(page, name, against.reference, parities, comparison)
        if not as_json:
            say(str(page))
    _end(parities, kept, against)


def _print(name: str, manifest: Any, parities: "list[Parity]", kept: "list[Check]") -> None:
    from lzu_export.cli.tables.streams import stream_notes
    from lzu_export.cli.tables.verify import check_table, parity_table, verdict
    from lzu_export.manifest.schema import untrained_note

    show(verdict(name, parities, kept), "", parity_table(parities))
    notes = [f"{name} is {note}"] if (note := untrained_note(manifest)) else []
    for line in notes + (stream_notes(name, manifest.accuracy) if manifest.accuracy else []):
        say(line)
    if kept:
        show(check_table(kept))


def _end(parities: "list[Parity]", kept: "list[Check]", against: Against | None) -> None:
    """Print the failures on stderr, and end with their exit status."""
    from lzu_export.verification.checks import failed

    failing = [parity for parity in parities if not parity.passed]
    for parity in failing:
        exits.complain(parity.sentence())
    if failing:
        raise typer.Exit(exits.MISMATCH)
    for check in failed(kept):
        where = against.reference if against is not None else ""
        exits.complain(f"{check.engine} lost against {where}: {check.name}, {check.message}")
    if failed(kept):
        raise typer.Exit(exits.REGRESSION)


def _note_strangers(bundle: Path, names: Sequence[str]) -> None:
    for name in names:
        note(f"{bundle / name} is no file of the bundle and is never read")
