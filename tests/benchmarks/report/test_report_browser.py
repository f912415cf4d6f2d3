"""The report in a real browser: not blank, nothing overflows, nothing is fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("jinja2", reason="the report needs the extra bench")
pytest.importorskip("matplotlib", reason="the report needs the extra bench")
driver = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")

from fleet_samples import sample_fleet  # noqa: E402
from lzu_benchmarks.report.page import write_pages  # noqa: E402
from lzu_benchmarks.report.trade_off import Point, trade_off  # noqa: E402
from lzu_export.support.look.page import Section, both, document  # noqa: E402
from page_samples import sample_comparison, sample_outcome  # noqa: E402
from report_samples import parity, sample_report  # noqa: E402
from sweep_samples import sample_result, sweep_page_of  # noqa: E402

pytestmark = pytest.mark.slow

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 300_000
"""Milliseconds: a screenshot may take long on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no headless Chromium; `make browser` installs one")
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield opened
        opened.close()


def accessibility(page: Any) -> list[dict[str, Any]]:
    """Return what axe objects to on a page."""
    package = pytest.importorskip("axe_playwright_python", reason="the check is axe's")
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate("axe.run()")["violations"]
    return found


def collisions(page: Any) -> list[list[str]]:
    """Return the texts of a page's visible figures that hide one another."""
    found: list[list[str]] = page.evaluate(
        """[...document.querySelectorAll("figure svg")].flatMap(figure => {
          const texts = [...figure.querySelectorAll("text")]
            .map(each => [each.textContent.trim(), each.getBoundingClientRect()])
            .filter(([text, box]) => text && box.width > 0);
          return texts.flatMap(([text, a], i) => texts.slice(i + 1)
            .filter(([_, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
              && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
            .map(([other]) => [text, other]));
        })"""
    )
    return found


@pytest.mark.parametrize("width", [390, 768, 1600])
def test_labels_of_close_points_do_not_collide(browser: Any, width: int, tmp_path: Path) -> None:
    points = [
        Point("fixed", 30 + i % 3 / 10, 40 + i % 5 / 10, f"tiles {i} + full 0.375x")
        for i in range(12)
    ]
    drawn = trade_off(points, name="t", x="ms", y="AP (points)", description="d", joined=False)
    section = Section("Cost", f"<figure>{both(drawn)}</figure>")
    (tmp_path / "page.html").write_text(document("Close points", kind="Report", sections=[section]))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto((tmp_path / "page.html").as_uri())
    assert collisions(page) == []
    assert page.locator("svg [id$='-label'] >> visible=true").count() == len(points)
    page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_pages(sample_report("det", folder, ablation=True), folder, folder)
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1600])
def test_the_page_as_it_is_seen(
    browser: Any, report: Path, scheme: str, width: int, tmp_path: Path
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[1]
    assert said == []
    assert [each for each in fetched if not each.startswith("data:")] == [report.as_uri()]
    broken = page.evaluate("[...document.images].filter(each => each.naturalWidth === 0).length")
    assert broken == 0
    aligned = page.evaluate(
        "[...document.querySelectorAll('td.n')].every("
        "each => getComputedStyle(each).textAlign === 'right')"
    )
    assert aligned
    assert [each["id"] for each in accessibility(page)] == []
    assert collisions(page) == []
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    picture = cv2.imread(str(tmp_path / "page.png"))
    context.close()
    assert picture.shape[1] == width
    bright = float(np.median(picture))
    assert bright > 240 if scheme == "light" else bright < 40
    for part in np.array_split(picture, 6):  # there is something all the way down
        assert part.std() > 5


def test_it_can_be_printed(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # between the margins of A4
    wide = page.evaluate(
        "[...document.querySelectorAll('table')].filter("
        "each => each.getBoundingClientRect().right > innerWidth + 1)"
        ".map(each => each.parentElement.getAttribute('aria-label'))"
    )
    assert wide == []
    content = page.pdf(format="A4")
    page.close()
    assert content.startswith(b"%PDF")
    assert len(content) > 20_000


def test_choices_tables_pictures_and_numbers_answer(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report.as_uri())
    results = page.locator("#results table").first
    assert page.locator("#results legend").all_inner_texts() == ["precision", "scale"]
    page.locator("#results input[name=precision][value='int8']").uncheck()
    assert results.locator("tbody tr[data-precision='int8']:visible").count() == 0
    assert results.locator("tbody tr[data-precision='fp32']:visible").count() == 9
    page.locator("#results input[name=scale][value='0.25']").uncheck()
    assert results.locator("tbody tr[data-precision='fp32']:visible").count() == 5
    page.locator("#results input[name=scale][value='0.25']").check()
    heading = results.locator("th button").nth(1)
    for order in ("ascending", "descending"):
        heading.click()
        assert results.locator(f"th[aria-sort={order}]").count() == 1
        scores = results.locator("tbody tr[data-precision='fp32'] td:nth-child(2)")
        values = [float(each) for each in scores.all_inner_texts()]
        assert values == sorted(values, reverse=order == "descending")
    page.locator("[data-viewer] figure:visible button.enlarge").first.click()
    assert page.locator("dialog[open] img").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.locator(".slide").fill("20")
    assert page.locator(".compare").evaluate("each => each.style.getPropertyValue('--at')") == "20%"
    page.locator("#trade-off [id$='-hit'] >> visible=true").first.hover()
    assert "AP" in page.locator(".tip").inner_text()
    assert said == []
    page.close()


def pages(folder: Path) -> list[Path]:
    """Write a page of each kind besides the report."""
    from lzu_export.bundle.run_page import Film, run_page
    from lzu_export.fleet.page import fleet_page
    from lzu_export.preview.preview import preview_warp
    from lzu_export.quantization.report import write_report
    from lzu_export.sweep.page import write_page
    from lzu_export.verification.regression_page import write_regression
    from lzu_export.warp.fixed_warp import FixedWarp

    boxes = [[70.0, 40, 90, 52], [80, 44, 88, 50]]
    warp = FixedWarp.from_boxes(np.array(boxes), source=(96, 160), scale=0.5)
    preview_warp(warp, folder / "warp.html", boxes=boxes)
    film = Film()
    for shade in (0, 255):
        film.add(np.full((90, 160, 3), shade, np.uint8))
    counts = {"frames": 2, "detections": 0, "milliseconds": 1.0}
    made = run_page(
        bundle="b", source="drive.mp4", counts=counts, names=[], video="drive.mp4", film=film,
        results=["results.json"],
    )  # fmt: skip
    (folder / "run.html").write_text(made)
    outcome = sample_outcome(folder)
    write_report(outcome)
    regressed, parities = folder / "regression.html", [parity("fp32", "fixed")]
    write_regression(regressed, "b", folder / "reference.json", parities, sample_comparison())
    (folder / "fleet.html").write_text(fleet_page(sample_fleet(folder)))
    swept = write_page(sweep_page_of(sample_result(), folder / "sweep"), folder)
    names = ("warp.html", "run.html", "fleet.html")
    return [*(folder / name for name in names), outcome.page, regressed, swept]


def test_the_other_pages_are_as_accessible_and_as_quiet(browser: Any, tmp_path: Path) -> None:
    for path in pages(tmp_path):
        assert path.stat().st_size < 5_000_000
        for width, scheme in ((390, "light"), (390, "dark"), (1600, "light")):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
            )
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            said: list[str] = []
            fetched: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, fetched=fetched: fetched.append(request.url))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert sizes[0] <= sizes[1], path.name
            assert [each["id"] for each in accessibility(page)] == [], path.name
            assert said == []
            assert [each for each in fetched if not each.startswith("data:")] == [path.as_uri()]
            context.close()


def test_lines_for_a_recipe_are_copied_and_layers_sorted(browser: Any, tmp_path: Path) -> None:
    from lzu_export.quantization.report import write_report

    outcome = sample_outcome(tmp_path)
    write_report(outcome)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(outcome.page.as_uri())
    page.locator("button.copy").click()
    page.locator("button.copy", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert yaml.safe_load(copied) == {"higher_precision": {"int8": outcome.higher_precision}}
    layers = page.locator("#each-layer-alone-in-int8 table")
    layers.locator("th button", has_text="cost").click()
    costs = [float(each) for each in layers.locator("td:nth-child(2)").all_inner_texts()]
    assert costs == sorted(costs)
    page.locator("#accuracy-by-layers [id$='step-0'] >> visible=true").first.hover()
    assert "0 of 30 layers higher" in page.locator(".tip").inner_text()
    context.close()
