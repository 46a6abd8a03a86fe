"""Several things that are wrong with a run, found one by one and told together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gazetools.schemas.errors import EnvironmentLacksError, GazetoolsError, UsageError


class Problems:
    """Gathers what independent checks raise.

    >>> problems = Problems()
    >>> with problems.gather():
    ...     raise UsageError("No such folder.")
    >>> problems.any
    True
    """

    def __init__(self) -> None:
        self._found: list[GazetoolsError] = []

    @property
    def any(self) -> bool:
        """Whether a check has failed."""
        return bool(self._found)

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keep a UsageError or EnvironmentLacksError of the block, each text once; faults pass through."""
        try:
            yield
        except (UsageError, EnvironmentLacksError) as error:
            self.add(error)

    def add(self, error: GazetoolsError) -> None:
        """Keep an error unless its text is known."""
        if str(error) not in {str(other) for other in self._found}:
            self._found.append(error)

    def refuse(self) -> None:
        """Raise what was gathered: a single error as it is, several as one (wrong usage, 2, before lacks, 3)."""
        if not self._found:
            return
        if len(self._found) == 1:
            raise self._found[0]
        lines = [f"({number}) {error}" for number, error in enumerate(self._found, start=1)]
        kind = UsageError if any(isinstance(error, UsageError) for error in self._found) else EnvironmentLacksError
        raise kind(f"{len(lines)} problems: {' '.join(lines)}", problems=[error.as_dict() for error in self._found])
