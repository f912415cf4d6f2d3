"""The report in a real browser: not blank, nothing overflows, nothing is fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the report needs the extra bench")
pytest.importorskip("matplotlib", reason="the report needs the extra bench")
driver = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")

from lzu_benchmarks.report.page import write_pages  # noqa: E402
from report_samples import sample_report  # noqa: E402

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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_pages(sample_report("det", folder, ablation=True), folder, folder)
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
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
    content = page.pdf(format="A4")
    page.close()
    assert content.startswith(b"%PDF")
    assert len(content) > 20_000
