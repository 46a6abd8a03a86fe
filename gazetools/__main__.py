"""`python -m gazetools` is the `gazetools` command."""

from gazetools.cli.app import main

main()
