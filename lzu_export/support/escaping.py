"""Escape text from outside sources (file names, classes, tensors) so that it is safe to show.

Each function takes any text and returns text that is shown literally: it moves no cursor, changes
no reading direction, opens no element and adds no line.
"""

import re

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, terminal sequences among them
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"  # invisible or directional
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff"  # bytes of a name that are not UTF-8
    "]"
)
_KEPT_LINES = re.compile(r"[^\n]+")
_MARKDOWN = re.compile(r"[\\`*\[\]|~@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)//|(?<=www)\.")
_STARTS_A_BLOCK = re.compile(r"\s|#{1,6}(\s|$)|[-+](\s|$)|\d{1,9}[.)](\s|$)|(-+|=+)\s*$")
"""Start of a line that Markdown reads as a heading, a list, a rule or code."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""Spell out the invisible characters of a text, such as `\x1b` for an escape character.

    Args:
        text: any text; bytes of file names that are not UTF-8 (surrogates) become `\xff`.
        lines: whether the text may have several lines; otherwise line ends are spelt out, too.
    """
    if lines:
        return _KEPT_LINES.sub(lambda line: _UNSEEN.sub(_spelt, line[0]), text)
    return _UNSEEN.sub(_spelt, text)


def markdown(text: str) -> str:
    """Escape a text as one line of GitHub's Markdown, in a paragraph, a list or a table's cell."""
    seen = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _MARKDOWN.sub(_entity_or_backslash, seen)
    return f"&#{ord(safe[0])};{safe[1:]}" if _STARTS_A_BLOCK.match(safe) else safe


def xml(text: str) -> str:
    """Spell out the characters of a text that XML 1.0 cannot contain; leave markup alone.

    `xml.etree` escapes markup itself, but writes such characters unchanged.
    """
    return visible(text)


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a surrogate: a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return _SHORT.get(found[0], f"\\x{code:02x}")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _entity_or_backslash(found: re.Match[str]) -> str:
    """Return an entity for parts of addresses and mentions, which a backslash would leave links."""
    entities = {"//": "&#47;&#47;", "@": "&#64;", ".": "&#46;"}
    return entities.get(found[0], f"\\{found[0]}")
