"""Check a commit message, as git's commit-msg hook: python .ci/commit_message.py FILE.

Subject: 1 to 72 characters, no full stop at its end, then an empty line before the body. Merges and fixups pass.
"""

from __future__ import annotations

import sys
from pathlib import Path

SUBJECT_LENGTH = 72
FREE = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")


def problems(message: str) -> list[str]:
    """What is wrong with a message, one text per problem; comment lines of git do not count."""
    lines = [line.rstrip() for line in message.splitlines() if not line.startswith("#")]
    while lines and not lines[0]:
        lines.pop(0)
    if not lines:
        return ["the message is empty"]
    subject = lines[0]
    if subject.startswith(FREE):
        return []
    found = []
    if len(subject) > SUBJECT_LENGTH:
        found.append(f"the subject has {len(subject)} characters; at most {SUBJECT_LENGTH}: the body can say the rest")
    if subject.endswith("."):
        found.append("the subject ends in a full stop; leave it out")
    if len(lines) > 1 and lines[1]:
        found.append("the second line must be empty; the body begins on the third")
    return found


def main() -> int:
    """Exit code 1 where something is wrong, each problem on stderr."""
    found = problems(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stderr.writelines(f"commit message: {problem}\n" for problem in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
