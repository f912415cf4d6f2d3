"""What results depend on besides a recipe: `python -m lzu_export.sweep.environment`.

It runs on each worker of a cluster, and prints one line of JSON.
"""

import json

from lzu_export.support.provenance import PACKAGES, source_digest, versions


def environment() -> dict[str, str]:
    """Return the releases that can change a bundle, by package, and the hash of this package.

    Python's own release is left out: workers may have different ones.
    """
    found = versions(PACKAGES)
    found.pop("python")
    return {**found, "code of lzu-export": source_digest()}


if __name__ == "__main__":
    print(json.dumps(environment()))
