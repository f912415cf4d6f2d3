"""Pages are whole, fetch nothing and run no text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from lzu_export.support.look.page import (
    BESIDE,
    Section,
    document,
    facts,
    figure,
    policy,
    script,
    slug,
    style,
    table,
    text,
)

EVIL = "\"><script>alert(1)</script><a href='javascript:x'>"
VOID = {"meta", "link", "img", "br", "input"}


class Balanced(HTMLParser):
    """Counts elements, and asserts that each one ends."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page() -> str:
    rows = [[EVIL, 1.5, "\x1b[31m"], ["b", 2, EVIL]]
    body = table(["name", "number", "text"], rows, name=EVIL) + facts([(EVIL, EVIL)])
    sections = [Section("What was found", body), Section("Pictures", figure(EVIL, EVIL))]
    return document(EVIL, kind=EVIL, meta=EVIL, lead=[EVIL], sections=sections, pictures=BESIDE)


def test_text_is_shown_and_never_runs() -> None:
    made = page()
    seen = Balanced(made).seen
    assert seen.count("script") == 1
    assert "a" in seen  # of the contents
    assert EVIL not in made
    assert "javascript:x'>" not in made
    assert "\\x1b[31m" in made


def test_the_policy_lets_the_own_script_run_alone() -> None:
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy()
    assert "default-src 'none'" in policy()
    assert "unsafe-inline'; script" in policy()  # styles alone
    # What the browser hashes stands between the tags, byte by byte.
    found = re.search(r"<script>(.*?)</script>", page(), re.DOTALL)
    assert found is not None
    assert found[1] == script()


def test_the_look_needs_nothing_from_elsewhere() -> None:
    assert not re.search(r"https?:|url\(|@import", style() + script())
    assert "</script" not in script()
    assert "eval(" not in script()
    assert "innerHTML" not in script()


def test_contents_lead_to_their_sections() -> None:
    made = page()
    for each in ("what-was-found", "pictures"):
        assert f'href="#{each}"' in made
        assert f'<section id="{each}">' in made
    assert slug("FP32: a & b") == "fp32--a---b"
    assert "<nav" not in document("one", kind="page", sections=[Section("Alone", "")])


def test_a_table_aligns_numbers_and_names_its_rows() -> None:
    made = table(["a", "b"], [["x", "1.5"]], name="t")
    assert '<th scope="row">x</th><td class="n">1.5</td>' in made
    assert 'aria-label="t"' in made
    assert text("a\nb<") == "a\nb&lt;"
