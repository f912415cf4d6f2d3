"""The page of a fleet: verdict, boards, figures of their engines, machine's state, files."""

from collections.abc import Iterator
from typing import Any

from lzu_export.fleet.messages import ENGINES
from lzu_export.fleet.results import FILE
from lzu_export.fleet.rows import (
    NOTHING,
    Figures,
    Fleet,
    Row,
    doubts_of,
    figures_of,
    number,
    ratio_sentences,
)
from lzu_export.support.look.page import Section, document, folded, lines, links, note, table

PAGE = "fleet.html"
REPORT = "fleet.json"


def fleet_page(fleet: Fleet) -> str:
    """Return the page of a fleet, which lies in its folder."""
    request = fleet.request
    bundles = ", ".join(each.name for each in request.bundles)
    worked = [row for row in fleet.rows if row.work is not None]
    sections = [Section("Boards", _boards(fleet))]
    if worked:
        sections.append(Section("Engines", _engines(fleet)))
        sections.append(Section("State of the boards", _states(worked)))
    sections.append(Section("Bundles", _bundles(fleet)))
    sections.append(Section("Files", links(_files(fleet))))
    when = fleet.created.replace("T", " ").replace("+00:00", " UTC")
    return document(
        bundles,
        kind="LZU fleet",
        meta=f"{request.target} in {' and '.join(request.precisions)}, {when}",
        lead=verdict(fleet),
        sections=sections,
    )


def verdict(fleet: Fleet) -> list[str]:
    """Return the outcome in sentences: how many boards are done, and why the others are not."""
    done = sum(row.status == "done" for row in fleet.rows)
    first = f"{done} of {len(fleet.rows)} boards are done."
    others = [row for row in fleet.rows if row.status != "done"]
    return [
        first,
        *ratio_sentences(fleet),
        *(f"{row.board} {_words(row)}: {row.sentence}." for row in others),
    ]


def _words(row: Row) -> str:
    return {"absent": "is absent", "lost": "was lost"}.get(row.status, row.status)


def _boards(fleet: Fleet) -> str:
    rows, lost = [], {}
    for i, row in enumerate(fleet.rows):
        look = row.look
        rows.append(
            (
                row.board,
                row.status + (", stored before" if row.stored else ""),
                row.about or NOTHING,
                (look.version if look is not None else None) or NOTHING,
                look.lzu_export if look is not None else NOTHING,
                f"{row.sent_bytes / 1e6:.1f}",
                f"{row.seconds:.0f}",
                row.sentence or NOTHING,
            )
        )
        if row.status != "done":
            lost[i] = "lost"
    columns = ["board", "status", "machine", fleet.request.target, "lzu_export"]
    columns += ["MB sent", "seconds", "reason"]
    return table(columns, rows, name="Boards", numbers=5, prose=[2, 7], kinds=lost)


def _engines(fleet: Fleet) -> str:
    rows = [_cells(row, each) for row in fleet.rows for each in figures_of(row, fleet.request)]
    columns = ["board", "bundle", "precision", "PyTorch", "ms", "engine ms", "ratio", "95 %"]
    columns += ["watts", "build s", "MB"]
    body = table(columns, rows, name="Engines", numbers=4)
    first = fleet.request.bundles[0].name
    return body + note(
        "ms: median from the camera's bytes to predictions; all engines of a board were timed "
        "interleaved, in one process.",
        f"Ratio: over {first} in the same precision on the same board.",
        "PyTorch: the comparison with the values of PyTorch that the bundle holds.",
    )


def _cells(row: Row, each: Figures) -> tuple[str, ...]:
    built = each.engine
    return (
        row.board,
        each.bundle,
        each.precision,
        each.verified or NOTHING,
        number(each.whole, 2),
        number(each.alone, 2),
        *each.ratio_texts,
        number(each.watts, 1),
        number(built.build_seconds if built else None, 0),
        number(built.bytes / 1e6 if built else None, 1),
    )


def _states(worked: list[Row]) -> str:
    """Return clocks and temperatures before and after, with what makes the times doubtful."""
    rows, doubtful = [], {}
    for i, row in enumerate(worked):
        assert row.work is not None, "only rows with a result are given"
        doubts = doubts_of(row.work)
        before, after = row.work.before, row.work.after
        mode = ((row.work.latency or {}).get("machine") or {}).get("power_mode")
        rows.append(
            (
                row.board,
                str(mode or NOTHING),
                f"{_clock(before)} to {_clock(after)}",
                f"{_hottest(before)} to {_hottest(after)}",
                "; ".join(doubts) or "none",
            )
        )
        if doubts:
            doubtful[i] = "lost"
    columns = ["board", "power mode", "GPU MHz", "hottest zone", "doubts of the times"]
    body = table(columns, rows, name="State of the boards", numbers=5, prose=[4], kinds=doubtful)
    body += note("Before the work and after it. Doubts: what was seen while engines were timed.")
    for row in worked:
        assert row.work is not None
        said = [
            f"{each.seconds:8.1f} s  {each.name}{f': {each.sentence}' if each.sentence else ''}"
            for each in row.work.steps
        ]
        body += folded(f"Steps of {row.board}", lines("\n".join(said), f"Steps of {row.board}"))
    return body


def _clock(reading: dict[str, Any]) -> str:
    cards = [each.get("clock") for each in reading.get("cards", ()) if isinstance(each, dict)]
    clock = next((c for c in (reading.get("gpu_mhz"), *cards) if isinstance(c, (int, float))), None)
    return number(clock, 0)


def _hottest(reading: dict[str, Any]) -> str:
    degrees = [c for c in (reading.get("celsius") or {}).values() if isinstance(c, (int, float))]
    return f"{max(degrees):.0f} C" if degrees else NOTHING


def _bundles(fleet: Fleet) -> str:
    rows = [(each.name, each.sha256, f"{each.bytes / 1e6:.1f}") for each in fleet.request.bundles]
    body = table(["bundle", "hash of the archive", "MB"], rows, name="Bundles", numbers=2)
    return body + note("A board keeps an archive by its hash, and is sent it once.")


def _files(fleet: Fleet) -> Iterator[tuple[str, str]]:
    yield REPORT, "all figures and states"
    for row in fleet.rows:
        if row.work is None:
            continue
        yield f"{row.folder}/{FILE}", f"the result of {row.board}"
        for each in row.work.engines:
            place = f"{row.folder}/{ENGINES}/{each.bundle}/{each.file}"
            yield place, f"engine of {each.bundle} in {each.precision}, sha256 {each.sha256[:12]}"
