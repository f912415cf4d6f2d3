"""Give package indexes a README whose links work there; all else is in pyproject.toml.

An index shows the README alone, so links to other files of the repository must be absolute.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
LINK = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?!\w+:|#)(?P<target>[^)\s]+)\)")


def readme_of_index(readme: str, project: str) -> str:
    """Return the README with its relative links pointed at the files of this release.

    Args:
        readme: text of README.md, whose links are relative to the repository.
        project: text of pyproject.toml, which holds the version and the repository's address.
    """
    keys = dict(re.findall(r'^(version|Repository) = "(.*)"$', project, flags=re.MULTILINE))

    def absolute(link: re.Match[str]) -> str:
        folder = f"{keys['Repository']}/{'raw' if link['picture'] else 'blob'}/v{keys['version']}"
        return f"{link['picture']}{link['text']}({folder}/{link['target']})"

    return LINK.sub(absolute, readme)


if __name__ == "__main__":
    texts = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "pyproject.toml"))
    setup(long_description=readme_of_index(*texts), long_description_content_type="text/markdown")
