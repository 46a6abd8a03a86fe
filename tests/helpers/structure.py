"""Facts about the package's own source, read with `ast`: imports, functions, names, docstrings."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceFile:
    """One file of the package."""

    path: Path
    """Path relative to the repository."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def dotted(self) -> str:
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    @property
    def room(self) -> str:
        """The first part below the package: `io` for gazetools/io/npz.py, `torch` for gazetools/torch.py."""
        return Path(self.path.parts[1]).stem

    def functions(self) -> Iterator[tuple[str, Function, bool]]:
        """(qualified name, node, is a method) of every function, nested ones included."""
        todo: list[tuple[ast.AST, str, bool]] = [(self.tree, "", False)]
        while todo:
            node, prefix, in_class = todo.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Function):
                    yield prefix + child.name, child, in_class
                    todo.append((child, f"{prefix}{child.name}.", False))
                elif isinstance(child, ast.ClassDef):
                    todo.append((child, f"{prefix}{child.name}.", True))
                else:
                    todo.append((child, prefix, in_class))

    def docstrings(self) -> Iterator[tuple[int, str]]:
        """(line, text) of every string that stands as a statement: of modules, classes, functions, fields."""
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield node.lineno, node.value.value

    def comments(self) -> Iterator[tuple[int, str]]:
        """(line, text) of every comment."""
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def body_lines(node: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def parameter_count(node: Function, is_method: bool) -> int:
    """Parameters of a function, `self` and `cls` not counted."""
    given = node.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a]
    return len(names) - (is_method and bool(names) and names[0] in ("self", "cls"))


class Package:
    """All files of a package and who imports whom; imports inside functions count, those for type checkers do not."""

    def __init__(self, root: Path, name: str) -> None:
        paths = sorted((root / name).rglob("*.py"))
        self.files = [SourceFile(p.relative_to(root), p.read_text(encoding="utf-8")) for p in paths]
        self.by_name = {file.dotted: file for file in self.files}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Dotted name of a file -> dotted names of the files that it imports; a re-exported name leads to its file."""
        found: dict[str, set[str]] = {}
        for file in self.files:
            targets = {self._file_of(module, name) for module, name in _imported(file.tree)}
            found[file.dotted] = {t for t in targets if t is not None and t != file.dotted}
        return found

    def _file_of(self, module: str, name: str | None) -> str | None:
        if name is not None and f"{module}.{name}" in self.by_name:
            return f"{module}.{name}"
        if module not in self.by_name:
            return None
        package = self.by_name[module]
        if name is not None and package.path.name == "__init__.py":
            for inner, other in _imported(package.tree, with_typing=True):
                if other == name and inner != module:
                    return self._file_of(inner, name)
        return module

    def folder_imports(self, folder: Path) -> dict[str, set[str]]:
        """The same between the files and folders that lie in one folder, `__init__` left out."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, targets in self.imports.items():
            source = _entry(folder, self.by_name[name].path)
            for target in targets:
                other = _entry(folder, self.by_name[target].path)
                if source and other and source != other and "__init__" not in (source, other):
                    found[source].add(other)
        return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other; [] in a graph without circles."""
    reach: dict[str, set[str]] = {}
    for start, first in graph.items():
        seen: set[str] = set()
        todo = list(first)
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += graph.get(node, ())
        reach[start] = seen
    rings = {tuple(sorted(n for n in graph if n in reach[start] and start in reach[n])) for start in graph}
    return sorted(list(ring) for ring in rings if ring)


def used_names(package: Package) -> set[str]:
    """Every name that is read, re-exported or part of a text (`module:name`) somewhere in the package."""
    used: set[str] = set()
    for file in package.files:
        prose = {text for _, text in file.docstrings()}
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and file.path.name == "__init__.py":
                used.update(alias.name for alias in node.names)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in prose:
                used.update(re.findall(r"[A-Za-z_]\w*", node.value))
    return used


def _imported(tree: ast.AST, *, with_typing: bool = False) -> Iterator[tuple[str, str | None]]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not with_typing:
            for other in child.orelse:
                yield from _imported(other)
        elif isinstance(child, ast.Import):
            yield from ((alias.name, None) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((child.module or "", alias.name) for alias in child.names)
        else:
            yield from _imported(child, with_typing=with_typing)


def _entry(folder: Path, path: Path) -> str | None:
    return Path(path.relative_to(folder).parts[0]).stem if folder in path.parents else None
