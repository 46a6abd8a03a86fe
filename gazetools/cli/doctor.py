"""`gazetools doctor`: what this machine has and lacks."""

from __future__ import annotations

import dataclasses

from gazetools.cli.common import TERMINAL, JsonOption


def doctor_command(as_json: JsonOption = False) -> int:
    """Show what this machine has and lacks, with the command that gets it. Exit 3 if something needed is missing.

    Example: gazetools doctor
    """
    from rich.markup import escape
    from rich.table import Table

    from gazetools.doctor import examine
    from gazetools.schemas.errors import ExitCode

    checks = examine()
    table = Table("what", "", "found", "remedy")
    marks = {"ok": "[green]ok[/]", "optional": "[yellow]-[/]", "missing": "[red]missing[/]"}
    for check in checks:
        table.add_row(check.name, marks[check.status], escape(check.found), escape(check.remedy or ""))
    TERMINAL.show(table)
    TERMINAL.emit({"checks": [dataclasses.asdict(check) for check in checks]})
    return int(ExitCode.ENVIRONMENT if any(check.status == "missing" for check in checks) else ExitCode.OK)
