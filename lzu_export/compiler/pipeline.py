"""The export: from a recipe to a verified bundle, stage by stage."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.text import Text

from lzu_export.bundle.bundle import Bundle
from lzu_export.bundle.workspace import Workspace, exclusive
from lzu_export.cluster.cluster import Cluster
from lzu_export.compiler import fingerprint as fingerprints
from lzu_export.compiler.additions import (
    carry_over,
    check_additions,
    refuse_to_lose,
    there_before,
    told,
    with_those_of,
)
from lzu_export.compiler.comparison import compare_bundles
from lzu_export.compiler.derive import derive
from lzu_export.compiler.lowerings import Decided
from lzu_export.compiler.whole_export import Export
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.graph.lowering.choose import (
    Step,
)
from lzu_export.manifest.schema import (
    FILE,
    Derived,
    Manifest,
    canonical_file,
    read_manifest,
)
from lzu_export.models.file_kinds import check_checkpoint
from lzu_export.quantization.calibration import read_cache
from lzu_export.recipes import Recipe
from lzu_export.recipes.generic import GenericRecipe
from lzu_export.recipes.kernel_limits import check_kernels
from lzu_export.recipes.load import default_recipe
from lzu_export.support.checkout import option
from lzu_export.support.demonstration import remedy_for
from lzu_export.support.files.hashes import sha256
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET, find, runs_anywhere
from lzu_export.tasks.custom import named_network

log = logging.getLogger(__name__)


Status = Literal["exported", "resumed", "up to date"]


@dataclass(frozen=True)
class Outcome:
    """The result of an export."""

    folder: Path
    """Folder of the bundle."""
    manifest: Manifest
    """Manifest of the bundle."""
    status: Status
    """`exported`; `resumed` after an interrupted export; `up to date` where nothing was done."""


def export(
    recipe: Recipe,
    out: Path,
    *,
    force: bool = False,
    report: Reporter | None = None,
    cluster: Cluster | None = None,
) -> Outcome:
    """Export one recipe into the bundle `out`/TASK/`bundle_name(recipe)`.

    Does nothing where a complete bundle made from the same inputs exists; continues an interrupted
    export; publishes only a bundle whose engines passed their verification.

    Args:
        recipe: recipe to export.
        out: folder of all bundles.
        force: export again from the first stage, even if nothing changed.
        report: receiver of progress.
        cluster: workers on which accuracy and INT8 ranges are measured in parts, where the frames
            are many enough; the results are those of one process, to the bit.

    Raises:
        LzuError: an input is missing or unfit, a target refuses the graph, an engine deviates from
            PyTorch, or the disk refuses.
    """
    return export_all([recipe], out, force=force, report=report, cluster=cluster)[0]


def export_all(
    recipes: Sequence[Recipe],
    out: Path,
    *,
    force: bool = False,
    report: Reporter | None = None,
    cluster: Cluster | None = None,
) -> list[Outcome]:
    """Export recipes that are to be compared, see `export`: equal steps get equal lowerings.

    Raises:
        LzuError: as `export` does; bundles before the one at fault are finished.
    """
    report = report or Reporter(quiet=True)
    asked = {out / each.task / bundle_name(each): each for each in recipes}
    for recipe in recipes:
        _check_inputs(recipe)
    before = {final: there_before(final) for final in asked}
    recipes = [with_those_of(each, before[final]) for final, each in asked.items()]
    decided = {folder: Decided(folder) for folder in {out / recipe.task for recipe in recipes}}
    outcomes: dict[Path, Outcome] = {}
    runs: dict[Path, Export] = {}
    again: dict[Path, list[Derived]] = {}
    with ExitStack() as stack:
        for recipe in recipes:
            final = out / recipe.task / bundle_name(recipe)
            fingerprint = fingerprints.fingerprint(recipe)
            manifest = None if force else _current(final, fingerprint, decided[final.parent])
            if manifest is None:
                stack.enter_context(exclusive(final))
            if manifest is None and not force:
                # Another export may have finished this very bundle while we waited to begin.
                manifest = _current(final, fingerprint, decided[final.parent])
            if manifest is not None:
                outcomes[final] = Outcome(final, manifest, "up to date")
                continue
            check_additions(recipe, asked[final], final)
            _tell_additions(recipe, asked[final], final, report)
            work = Workspace(final, fingerprint, fresh=force)
            stack.callback(work.tidy)
            runs[final] = Export(recipe, work, report, decided[final.parent], cluster)
        _prepare(runs, report)
        for final, run in runs.items() if not force else ():
            refuse_to_lose(before[final], run.work.hashes()[canonical_file("fp32")], final)
        for recipe in recipes:
            final = out / recipe.task / bundle_name(recipe)
            report.note(Text.assemble((recipe.name, "bold"), f" {recipe.label}"))
            if final in runs:
                # Popped, so that its memory is freed.
                outcomes[final], again[final] = _finish(runs.pop(final), before[final])
            report.note(f"  {outcomes[final].status}: {final}")
    for final, derived in again.items():
        for each in derived:
            _derive_again(final, each, report)
            outcomes[final] = replace(outcomes[final], manifest=read_manifest(final))
    ordered = [outcomes[out / each.task / bundle_name(each)] for each in recipes]
    return _compared(ordered, report)


def _finish(run: "Export", before: Manifest | None) -> tuple[Outcome, list[Derived]]:
    """Run all stages and publish the bundle, with the files added to its predecessor.

    Returns:
        The result of the export, and the derived files that must be made again.
    """
    manifest, final = _all_stages(run), run.work.final
    with readable_os_errors(f"the bundle {final}"):
        carried = carry_over(before, final, manifest, run.work.folder)
    manifest = manifest.model_copy(update=carried.changes)
    run.work.publish(manifest)
    for each in told(carried, final):
        run.report.note(f"  {each}")
    status: Status = "resumed" if run.work.resumed else "exported"
    return Outcome(final, manifest, status), carried.derive_again


def _derive_again(final: Path, derived: Derived, report: Reporter) -> None:
    """Derive a file that the replaced bundle had again, from the new graph."""
    what = f"{derived.precision} for {find(derived.target).title}"
    try:
        with report.working(f"deriving {what} again"):
            derive(final, precision=derived.precision, target=derived.target)
    except LzuError as error:
        report.note(f"  {what} was not derived again: {error}")


def _tell_additions(recipe: Recipe, asked: Recipe, final: Path, report: Reporter) -> None:
    """Report the precisions and targets that are exported besides the requested ones."""
    more: list[str] = [each for each in recipe.precision if each not in asked.precision]
    more += [each for each in recipe.targets if each not in asked.targets]
    if more:
        report.note(f"  {', '.join(more)} too, which {final} has")


def _compared(outcomes: Sequence[Outcome], report: Reporter) -> list[Outcome]:
    """Return the outcomes with times that were measured interleaved.

    An earlier command's times are kept where it timed the same bundles and none of them is new.
    """
    timed = [each for each in outcomes if _is_timed(each.manifest)]
    bundles = {each.folder: Bundle(each.folder, each.manifest) for each in timed}
    names = {folder.name for folder in bundles}
    found = [each.manifest.comparison for each in timed]
    stored = [each for each in found if each is not None]
    together = len({each.created for each in stored}) == 1 and len(stored) == len(bundles)
    together = together and all(set(each.bundles) == names for each in stored)
    new = any(each.status != "up to date" for each in timed)
    if len(bundles) < 2 or (together and not new):
        return list(outcomes)
    changed = {}
    for folder, comparison in compare_bundles(list(bundles.values()), report).items():
        with exclusive(folder), readable_os_errors(f"the bundle {folder}"):
            changed[folder] = bundles[folder].rewrite([], {"comparison": comparison}).manifest
    return [replace(each, manifest=changed.get(each.folder, each.manifest)) for each in outcomes]


def _is_timed(manifest: Manifest) -> bool:
    return any(runs_anywhere(each.target) for each in manifest.engines)


def _all_stages(run: "Export") -> Manifest:
    """Run all stages; an earlier run's state may be damaged in ways that no hash reveals."""
    try:
        return run.all_stages()
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        if not run.work.resumed:
            raise
        raise LzuError(
            f"the unfinished export in {run.work.folder} cannot be gone on with "
            f"({type(error).__name__}); remove that folder, or give --force"
        ) from error


def _prepare(runs: Mapping[Path, "Export"], report: Reporter) -> None:
    """Trace all models, and decide on the lowerings of the steps that they share."""
    steps: dict[Path, dict[str, list[Step]]] = {}
    for final, run in runs.items():
        run.open()
        if DEFAULT_TARGET in run.recipe.targets:
            steps.setdefault(final.parent, {})[final.name] = run.steps()
    for folder, mine in steps.items():
        run = next(run for final, run in runs.items() if final.parent == folder)
        for final, each in runs.items():
            if final.parent == folder:
                each.take_over_decisions()
        with report.working("timing the warps' lowerings"):
            timer = find(DEFAULT_TARGET).timer
            assert timer is not None, "lowerings are timed by it"
            run.decided.measure(mine, timer)


def bundle_name(recipe: Recipe) -> str:
    """Return the folder name of a recipe's bundle: `fixed-0.5x`, preceded by the recipe's name
    unless it is the task's default recipe.
    """
    own = default_recipe(recipe.task) == recipe.name
    return recipe.label if own else f"{recipe.name}-{recipe.label}"


def _current(final: Path, fingerprint: str, decided: Decided) -> Manifest | None:
    """Return the finished bundle's manifest if it was made from these inputs, its files are intact,
    and it lowers the steps that it shares with the bundles beside it as they do.
    """
    if not (final / FILE).is_file():
        return None
    try:
        manifest = read_manifest(final)
    except LzuError:
        return None  # a damaged bundle, or one of another format, is exported again
    whole = manifest.fingerprint == fingerprint and all(
        (final / name).is_file() and sha256(final / name) == digest
        for name, digest in manifest.files.items()
    )
    return manifest if whole and decided.agrees(manifest) else None


def _check_inputs(recipe: Recipe) -> None:
    """Refuse inputs that would fail later, before any work."""
    check_kernels(recipe)
    if isinstance(recipe, GenericRecipe):
        named_network(recipe)
    path = recipe.checkpoint.get(recipe.variant)
    if path is None and recipe.random_weights is None:
        raise LzuError(
            f"recipe {recipe.name} has no checkpoint for the variant {recipe.variant}; give one "
            f"({option('checkpoint', 'FILE')}), or {option('random-weights', '0')} to time an "
            "untrained network"
        )
    if path is not None:
        check_checkpoint(path)
    saliency = recipe.warp.saliency
    if recipe.variant != "uniform" and saliency is not None and not saliency.exists():
        remedy = remedy_for(saliency, "give a path that does")
        raise LzuError(f"saliency {saliency} does not exist; {remedy}")
    # The fingerprint, computed next, opens the calibration frames and refuses unfit ones.
    if "int8" in recipe.precision and recipe.calibration.cache is not None:
        read_cache(recipe.calibration.cache)
    for target in map(find, recipe.targets):
        if target.version() is None:
            raise LzuError(target.missing())
