"""Text from elsewhere stands for itself wherever it is shown."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lzu_export.support.escaping import markdown, visible, xml
from lzu_export.verification.checks import Check, junit

ANY = st.text(st.characters(codec=None, categories=None), max_size=30)
AWKWARD = st.text("\x1b\x00\x9b\u202e\udcff\uffff|`<>&*_[]()#-+=~\\!:/.1w@ \n\tab", max_size=24)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("car, 2 wheels [truck] \N{CYRILLIC SMALL LETTER A} 車 👩‍🚀 é", None),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\x00b\x7fc\x9bd", "a\\x00b\\x7fc\\x9bd"),
        ("x\u202etxt.exe\u2069", "x\\u202etxt.exe\\u2069"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("one\ntwo\r\tthree\u2028", "one\\ntwo\\r\\tthree\\u2028"),
        ("not-utf8-\udce9", "not-utf8-\\xe9"),
        ("half \ud800 \uffff", "half \\ud800 \\uffff"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, right: str | None) -> None:
    """And what can be seen stays, in whatever script."""
    assert visible(text) == (text if right is None else right)


def test_lines_stay_where_they_are_wanted() -> None:
    """Carriage returns do not: they would let one line cover another."""
    assert visible("a\nb\rc\x1b", lines=True) == "a\nb\\rc\\x1b"


@given(ANY | AWKWARD)
def test_any_text_can_be_printed_and_changes_no_more(text: str) -> None:
    """To a terminal, a file or a pipe in UTF-8; what is spelt out once is not spelt out again."""
    shown = visible(text)
    shown.encode("utf-8")
    assert shown.isprintable() or not shown.isascii()
    assert not any(ord(each) < 32 for each in shown)
    assert visible(shown) == shown


@given(ANY | AWKWARD)
def test_any_text_is_well_formed_xml(text: str) -> None:
    """In an attribute and in an element."""
    root = ET.Element("x", {"a": xml(text)})
    root.text = xml(text)
    back = ET.fromstring(ET.tostring(root, encoding="unicode"))
    assert back.attrib["a"] == back.text or (not back.text and not back.attrib["a"])
    assert back.attrib["a"] == visible(text)


@given(AWKWARD)
def test_any_text_is_a_cell_of_a_markdown_table(text: str) -> None:
    """Read back by a parser of GitHub's dialect: the same text, and nothing but text."""
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    table = f"| a | b |\n|---|---|\n| {markdown(text)} | next |\n"
    tokens = parser.parse(table)
    assert [t.type for t in tokens].count("td_open") == 2
    cells = [t for t in tokens if t.type == "inline"][2:]
    assert {child.type for child in cells[0].children or ()} <= {"text", "text_special"}
    shown = "".join(child.content for child in cells[0].children or ())
    assert shown.strip() == visible(text).strip()
    assert cells[1].content == "next"


@pytest.mark.parametrize(
    "text",
    ["# a", "- a", "+ a", "1. a", "12) a", "---", "===", "    a", "> a", "<div>", "`a", "* * *"],
)
def test_a_text_begins_no_block_of_markdown(text: str) -> None:
    """A line that starts with it is a paragraph."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"{markdown(text)}\n")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize("text", ["http://x.y", "www.x.y", "ftp://x", "a@b.c", "@all", "![x](y)"])
def test_a_text_makes_no_link_of_markdown(text: str) -> None:
    """Nor a mention of someone, nor a picture that is loaded from elsewhere."""
    shown = markdown(text)
    assert not any(mark in shown for mark in ("://", "www.", "@", "!["))


def test_junit_is_well_formed_whatever_the_names_are() -> None:
    """Of the bundle's folder, of tensors, and in the figures' words."""
    odd = 'a\x1b[31mb"<c>&\x00\ud800\uffff\n'
    checks = [Check("onnxruntime/fp32", odd, "failed", odd), Check(odd, odd, "passed", odd)]
    root = ET.fromstring(junit(odd, checks))
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == visible(odd)
    assert [suite.attrib["name"] for suite in root] == [
        visible(f"{odd} onnxruntime/fp32"),
        visible(f"{odd} {odd}"),
    ]
