"""Print the CHANGELOG section of a tag: python .ci/release_notes.py v0.2.0.

Exit code 1, with the reason on stderr, where the tag, `gazetools/_version.py` and CHANGELOG.md do not agree.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def release_notes(tag: str, version_file: str, changelog: str) -> str:
    """The text below `## [VERSION] - DATE`. Raises ValueError where one of the three has another version."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise ValueError(f"the tag {tag!r} is not vMAJOR.MINOR.PATCH")
    version = tag[1:]
    if f'__version__ = "{version}"' not in version_file:
        raise ValueError(f"the tag is {tag}, but gazetools/_version.py states another version")
    heading = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.M)
    if heading is None:
        raise ValueError(f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'")
    rest = changelog[heading.end() :]
    end = re.search(r"^## \[|^\[[^\]]+\]: ", rest, re.M)
    return rest[: end.start() if end else None].strip()


def main() -> int:
    """Print the notes or the reason why there are none."""
    try:
        version_file = (ROOT / "gazetools" / "_version.py").read_text(encoding="utf-8")
        print(release_notes(sys.argv[1], version_file, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    except (IndexError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
