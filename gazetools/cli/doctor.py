"""`gazetools doctor`: what this machine has and lacks."""

from __future__ import annotations

import dataclasses

from gazetools.cli import tables
from gazetools.cli.common import TERMINAL
from gazetools.cli.options import options
from gazetools.schemas.errors import ExitCode


@options()
def doctor_command() -> int:
    """Show what this machine has and lacks, with the command that gets it. Exit 3 if something needed is missing.

    Example: gazetools doctor
    """
    from gazetools.doctor import examine

    checks = examine()
    TERMINAL.show(tables.checks(checks))
    TERMINAL.emit({"checks": [dataclasses.asdict(check) for check in checks]})
    return int(ExitCode.ENVIRONMENT if any(check.status == "missing" for check in checks) else ExitCode.OK)
