"""The command line: parse, call the library, show the result, choose the exit code."""
