"""What counts as the code of a stage: its script and every library module that it imports.

Two versions of a module count as the same code when their syntax trees are equal but for
docstrings: comments, layout, quotes and redundant brackets do not matter. The tree is written out
by `_shape`, which leaves out empty fields: these are what `ast.dump` shows differently from one
Python version to the next.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "scalewise"

# Modules that watch, announce, place and keep a job but have no say in what it computes. A change
# in them must not invalidate weeks of training.
UNCOUNTED = frozenset(
    f"scalewise.{name}"
    for name in (
        *("job", "progress", "devices", "processes"),
        *("resuming", "file_lock", "stage_lock", "stage_state"),
    )
)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if is_docstring else body


def _shape(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = []
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ):
                value = _without_docstring(value)
            if name in ("ctx", "kind", "type_comment") or value is None or value == []:
                continue
            fields.append((name, _shape(value)))
        return (type(node).__name__, *fields)
    if isinstance(node, list):
        return [_shape(item) for item in node]
    return (type(node).__name__, repr(node))


def source_digest(source: str) -> str:
    """Digest of Python source that comments, docstrings and layout do not change."""
    return _tree_digest(ast.parse(source))


def _tree_digest(tree: ast.Module) -> str:
    return hashlib.sha256(repr(_shape(tree)).encode()).hexdigest()


def _imported(tree: ast.Module, is_module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(
                f"{node.module}.{alias.name}"
                for alias in node.names
                if is_module(f"{node.module}.{alias.name}")
            )
    ours = {name for name in names if name == PACKAGE or name.startswith(PACKAGE + ".")}
    # importing a.b.c runs a/__init__.py and a/b/__init__.py too
    return {".".join(n.split(".")[:k]) for n in ours for k in range(1, n.count(".") + 2)}


class CodeBase:
    """The scripts in a folder and the package beside them."""

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        self._module = cache(self._read_module)
        self._stage = cache(self._closure)

    def _path(self, module: str) -> Path | None:
        base = self._folder.joinpath(*module.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None

    def _read(self, path: Path) -> tuple[str, set[str]]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return _tree_digest(tree), _imported(tree, lambda name: self._path(name) is not None)

    def _read_module(self, module: str) -> tuple[dict[str, str], set[str]]:
        path = self._path(module)
        if path is None:
            return {}, set()
        digest, imports = self._read(path)
        digests = {path.relative_to(self._folder).as_posix(): digest}
        # templates and style sheets beside a module belong to it
        for extra in sorted(path.parent.glob(f"{path.stem}.*")):
            # neither the module itself nor what editors and patches leave of it (page.py.orig)
            left_over = extra.name.startswith(path.name) or extra.name.endswith(("~", ".tmp"))
            if not left_over and extra.is_file():
                content = hashlib.sha256(extra.read_bytes()).hexdigest()
                digests[extra.relative_to(self._folder).as_posix()] = content
        return digests, imports

    def _closure(self, stage: str) -> dict[str, str]:
        script = self._folder / f"{stage}.py"
        digest, waiting = self._read(script)
        files, seen = {script.name: digest}, set()
        while waiting:
            module = waiting.pop()
            if module in seen or module in UNCOUNTED:
                continue
            seen.add(module)
            digests, imports = self._module(module)
            files.update(digests)
            waiting |= imports - seen
        return dict(sorted(files.items()))

    def files(self, stage: str) -> dict[str, str]:
        """Path relative to the scripts' folder -> digest, for all code of a stage."""
        return self._stage(stage)

    def digest(self, stage: str) -> str:
        """One digest for all code of a stage."""
        return hashlib.sha256(repr(sorted(self.files(stage).items())).encode()).hexdigest()[:16]
