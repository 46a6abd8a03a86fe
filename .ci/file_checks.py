"""Checks of committed files for pre-commit: python .ci/file_checks.py newline|size FILE..."""

from __future__ import annotations

import sys
from pathlib import Path

MAX_BYTES = 2_000_000


def wrong_end(content: bytes) -> bool:
    """True for a text that does not end with exactly one newline; an empty file is right."""
    return bool(content) and (not content.endswith(b"\n") or content.endswith(b"\n\n"))


def main() -> int:
    """Exit code 1 with the name of every file that breaks the rule."""
    rule, *names = sys.argv[1:]
    files = [path for path in map(Path, names) if path.is_file() and not path.is_symlink()]
    if rule == "newline":
        wrong, reason = [f for f in files if wrong_end(f.read_bytes())], "does not end with exactly one newline"
    else:
        wrong, reason = [f for f in files if f.stat().st_size > MAX_BYTES], f"is over {MAX_BYTES:,} bytes"
    sys.stderr.writelines(f"{path}: {reason}\n" for path in wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
