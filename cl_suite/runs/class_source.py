"""Reads a class's parameters from its source, without importing it: torch takes seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEEPEST = 20  # imports that are followed from file to file


@dataclass(frozen=True)
class ClassSource:
    """A class as its file writes it.

    Attributes:
        module: dotted name of the file that defines it.
    """

    module: str
    node: ast.ClassDef

    @classmethod
    def find(cls, class_path: str) -> ClassSource | None:
        """Return the class of this dotted name; None if files alone do not lead to it."""
        module, _, name = class_path.rpartition(".")
        return _find(module, name, _DEEPEST)

    def parameters(self) -> set[str] | None:
        """Return the names of the constructor's parameters; None if the source leaves them open."""
        made_by = self._function("__init__")
        if made_by is not None:
            arguments = made_by.args
            if arguments.vararg or arguments.kwarg:
                return None
            named = [*arguments.posonlyargs, *arguments.args][1:]
            return {argument.arg for argument in (*named, *arguments.kwonlyargs)}
        if self._is_dataclass():
            return self._fields()
        if (bases := self._bases()) is None:
            return None
        inherited = [base.parameters() for base in bases]
        # of two bases that take parameters, one hides the other
        if None in inherited or sum(map(bool, inherited)) > 1:
            return None
        return {name for names in inherited for name in names or ()}

    def fixes(self, name: str) -> bool:
        """Return whether the class, not its parameters, decides an attribute; False if unsure."""
        if any(_sets(node, name) for node in ast.walk(self.node)):
            return False
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return False
            if name in _assigned(node):
                return True
        bases = self._bases()
        return bases is not None and all(base.fixes(name) for base in bases)

    def _fields(self) -> set[str] | None:
        """Return the names of a dataclass's fields that its constructor takes."""
        found: set[str] = set()
        bases = self._bases()
        if bases is None:
            return None
        for base in reversed(bases):
            if (inherited := base._fields()) is None:
                return None
            found |= inherited
        for node in self.node.body if self._is_dataclass() else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                annotation = ast.unparse(node.annotation)
                if annotation.startswith("ClassVar") or _is_no_parameter(node.value):
                    found.discard(node.target.id)
                else:
                    found.add(node.target.id)
        return found

    def _bases(self) -> list[ClassSource] | None:
        found = []
        for base in self.node.bases:
            if isinstance(base, ast.Name) and base.id in ("object", "ABC", "Protocol"):
                continue
            source = _find(self.module, base.id, _DEEPEST) if isinstance(base, ast.Name) else None
            if source is None:
                return None
            found.append(source)
        return found

    def _is_dataclass(self) -> bool:
        names = [d.func if isinstance(d, ast.Call) else d for d in self.node.decorator_list]
        return any(isinstance(name, ast.Name) and name.id == "dataclass" for name in names)

    def _function(self, name: str) -> ast.FunctionDef | None:
        functions = (node for node in self.node.body if isinstance(node, ast.FunctionDef))
        return next((function for function in functions if function.name == name), None)


def _find(module: str, name: str, depth: int) -> ClassSource | None:
    """Return the class that a module defines, or imports from another one by name."""
    tree = _tree(module)
    if tree is None or not depth:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ClassSource(module, node)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(_imported(module, node), alias.name, depth - 1)
    return None


def _imported(module: str, node: ast.ImportFrom) -> str:
    """Return the dotted name of the module that a file's line imports from."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    # a package's own file counts as one level less
    file = _file(module)
    up = node.level - (file is not None and file.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


@functools.cache
def _tree(module: str) -> ast.Module | None:
    file = _file(module)
    try:
        return None if file is None else ast.parse(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _file(module: str) -> Path | None:
    """Return a module's file; finding the spec of a nested one would import its packages."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.submodule_search_locations is None:
        return None
    for folder in spec.submodule_search_locations:
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


def _assigned(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return (target.id for target in targets if isinstance(target, ast.Name))


def _sets(node: ast.AST, name: str) -> bool:
    """Return whether a node is `self.name` on the left of an assignment."""
    return isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)


def _is_no_parameter(value: ast.expr | None) -> bool:
    """Return whether a field's value is `field(..., init=False)`."""
    return isinstance(value, ast.Call) and any(
        keyword.arg == "init"
        and isinstance(keyword.value, ast.Constant)
        and not keyword.value.value
        for keyword in value.keywords
    )
