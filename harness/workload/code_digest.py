"""Digests of Python code that depend on what it does, not on layout, location or file names.

The digest of a file covers its syntax tree without comments, docstrings and layout. An import from
the same code counts as the digest of the imported module. A file can therefore be moved or renamed,
while swapping the contents of two files changes the code of those that import them. Equal files
have equal digests under every supported Python; for this reason the tree is written here and not by
``ast.dump``, and this module uses only the standard library.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_SILENT = frozenset({"ctx", "kind", "type_comment"})
"""Fields of a syntax tree that carry no meaning of their own."""
_BY_NAME = frozenset({"import_module", "__import__"})
_LISTINGS = frozenset({"iter_modules", "walk_packages"})
_HOLE = "\0"
"""Placeholder for a block of imports; literals cannot contain it, because ``ascii`` escapes it."""


class Import(NamedTuple):
    """One name that an import statement binds."""

    level: int
    """Number of dots of a relative import; 0 if absolute."""
    module: str
    taken: str | None
    """Name imported from the module, ``*`` for all; None if the module itself is imported."""
    bound: str
    """The name that the import binds."""
    is_late: bool = False
    """Whether it is inside a function or under ``TYPE_CHECKING``."""


class Form(NamedTuple):
    """The parts of a file that determine its digest."""

    digest: str
    """Digest of everything except the imports."""
    blocks: tuple[tuple[Import, ...], ...] = ()
    """Its imports, grouped into runs of consecutive import statements."""
    passed_on: Mapping[str, Import] = {}
    """Top-level imports whose name nothing else in the file binds, so others may re-import it."""
    bound: frozenset[str] = frozenset()
    """All names that the file binds anywhere."""
    composes_names: bool = False
    """Whether the file imports modules by names known only at run time."""

    @property
    def by_name(self) -> str:
        """Digest in which imports count by their literal names."""
        return _sha(self.digest, repr([[tuple(each) for each in block] for block in self.blocks]))


class Module(NamedTuple):
    """A file, and whether it is a package's ``__init__``."""

    form: Form
    is_package: bool


@functools.lru_cache(maxsize=4096)
def form_of(source: bytes) -> Form:
    """Parse Python source into its ``Form``.

    Source that cannot be parsed, and so cannot be imported either, counts byte by byte.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the import itself shows syntax warnings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return compiled_form(source)
    return _Reader().read(tree)


def compiled_form(content: bytes) -> Form:
    """Return the ``Form`` of a file that is not Python source: a digest of its bytes."""
    return Form(hashlib.sha256(content).hexdigest())


def version(modules: Mapping[str, Module]) -> str:
    """Compute a digest of a set of modules that does not depend on their names.

    A module of the same packages that is outside the set does not count, even if it is imported,
    since it is not used. Names do count if any module imports by names composed at run time.
    """
    tops = {name.partition(".")[0] for name in modules}
    # An empty ``__init__`` only makes a folder a package, so a new folder changes nothing.
    nothing = (form_of(b""), form_of(b'"A docstring."'))
    modules = {name: module for name, module in modules.items() if module.form not in nothing}
    linked = {
        name: [
            [_linked(each, name, modules, tops) for each in block] for block in module.form.blocks
        ]
        for name, module in modules.items()
    }
    digests = {name: module.form.digest for name, module in modules.items()}
    # Each round propagates digests by one import. Without cycles it reaches a fixed point.
    for _ in modules:
        found = {
            name: _sha(module.form.digest, *(_written(block, digests) for block in linked[name]))
            for name, module in modules.items()
        }
        if found == digests:
            break
        digests = found
    if any(module.form.composes_names for module in modules.values()):
        return _sha(*(f"{name}={digest}" for name, digest in sorted(digests.items())))
    return _sha(*sorted(digests.values()))


def absolute(name: str, *, is_package: bool, level: int, module: str) -> str:
    """Resolve an import in the module ``name`` to an absolute module name."""
    if not level:
        return module
    parts = name.split(".")
    kept = parts[: len(parts) - level + is_package]
    return ".".join([*kept, *([module] if module else [])])


class _Link(NamedTuple):
    """An import, and the modules of the same code that it refers to."""

    text: str
    targets: tuple[str, ...]
    bound: str


def _linked(each: Import, name: str, modules: Mapping[str, Module], tops: set[str]) -> _Link:
    module = absolute(
        name, is_package=modules[name].is_package, level=each.level, module=each.module
    )
    if module.partition(".")[0] not in tops:
        return _Link(f"{module} {each.taken} {each.bound}", (), each.bound)
    targets, taken = _meant(module, each.taken, modules, frozenset())
    others = tuple(target for target in targets if target != name)  # skip imports of itself
    return _Link(f"{taken} {each.bound}", others or ("",), each.bound)


def _meant(
    module: str, taken: str | None, modules: Mapping[str, Module], seen: frozenset[tuple[str, str]]
) -> tuple[tuple[str, ...], str | None]:
    """Resolve an import to the modules that define it, following re-exports, and the name taken."""
    here = (module,) if module in modules else ()
    if taken is None or taken == "*":
        return here, taken
    below = f"{module}.{taken}"
    form = modules[module].form if here else Form("")
    is_bound = taken in form.bound
    passed = form.passed_on.get(taken)
    if passed is not None and (module, taken) not in seen:
        is_package = modules[module].is_package
        source = absolute(module, is_package=is_package, level=passed.level, module=passed.module)
        if (source, passed.taken) == (module, taken):  # ``from . import x``: the module below
            is_bound = False
        else:
            found = _meant(source, passed.taken, modules, seen | {(module, taken)})
            if found[0]:
                return found
    if below in modules:
        return ((*here, below) if is_bound else (below,)), None  # both if it could be either
    return here, taken


def _written(block: Sequence[_Link], digests: Mapping[str, str]) -> str:
    """Write a block of imports as text, sorted unless it binds a name twice and order matters."""
    lines = [
        f"{'+'.join(digests.get(target, '') for target in each.targets)} {each.text}"
        for each in block
    ]
    names = [each.bound for each in block]
    is_ordered = "*" in names or len(set(names)) < len(names)
    return "\n".join(lines if is_ordered else sorted(lines))


class _Reader:
    """Writes a syntax tree as text, without recursion because trees may be deep."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._blocks: list[tuple[Import, ...]] = []
        self._bound: Counter[str] = Counter()
        self._composes_names = False
        self._late = 0
        """Depth of nested functions and ``TYPE_CHECKING`` blocks; above 0 imports are late."""

    def read(self, tree: ast.Module) -> Form:
        """Read a whole file."""
        waiting: list[object] = [tree]
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind is str:
                self._text.append(item)  # type: ignore[arg-type]
            elif kind is list:
                waiting.extend(reversed(self._elements(item)))  # type: ignore[arg-type]
            elif kind is _Block:
                self._hole(item)  # type: ignore[arg-type]
            elif kind is int:
                self._late += item  # type: ignore[operator]
            else:
                waiting.extend(reversed(self._parts(item)))  # type: ignore[arg-type]
        top = [
            each
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for each in _imports(node)
        ]
        has_star = any(each.taken == "*" for block in self._blocks for each in block)
        passed_on = {
            each.bound: each
            for each in top
            if self._bound[each.bound] == 1 and not has_star and "." not in each.bound
        }
        return Form(
            hashlib.sha256("".join(self._text).encode()).hexdigest(),
            tuple(self._blocks),
            passed_on,
            frozenset(self._bound),
            self._composes_names,
        )

    def _parts(self, node: ast.AST) -> list[object]:
        """Return the text and the parts of a node: its kind, and each field that is set."""
        if isinstance(node, ast.Constant | ast.MatchSingleton):
            return [f"({type(node).__name__} {_literal(node.value)})"]
        if isinstance(node, ast.JoinedStr):
            # Python versions differ in how they split the text between replacement fields.
            pieces = [ascii(each) if isinstance(each, str) else each for each in _flat(node)]
            return ["(JoinedStr ", *pieces, ")"]
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                self._bound[node.id] += 1
            return [f"(Name {node.id})"]
        for name in _names_bound_by(node):
            self._bound[name] += 1
        parts: list[object] = [f"({type(node).__name__}"]
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field in _SILENT:
                continue
            if field == "format_spec" and not _flat(value):
                continue
            if isinstance(value, str | int):
                parts.append(f" {field}={value}")
            elif _makes_late(node, field):
                parts += [f" {field}=", 1, value, -1]
            else:
                parts += [f" {field}=", value]
        parts.append(")")
        if isinstance(node, ast.Call):
            parts += self._import_by_name(node)
        return parts

    def _elements(self, items: Sequence[object]) -> list[object]:
        """Return the elements of a list, omitting docstrings and grouping imports into blocks."""
        parts: list[object] = ["["]
        block: list[Import] = []
        for item in items:
            if isinstance(item, ast.Import | ast.ImportFrom):
                self._bound.update(each.bound.partition(".")[0] for each in _imports(item))
                block += _imports(item)
            elif not _is_bare_text(item):
                if block:
                    parts.append(_Block(block))
                    block = []
                parts += [item if isinstance(item, ast.AST) else str(item), ","]
        return [*parts, *([_Block(block)] if block else []), "]"]

    def _hole(self, block: _Block) -> None:
        is_late = self._late > 0
        self._blocks.append(tuple(each._replace(is_late=is_late) for each in block.imports))
        self._text.append(_HOLE)

    def _import_by_name(self, node: ast.Call) -> list[object]:
        """Count ``import_module("a.b")`` as an import; a computed name sets ``composes_names``."""
        called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if called not in _BY_NAME:
            self._composes_names = self._composes_names or called in _LISTINGS
            return []
        given = node.args[0] if node.args else None
        name = given.value if isinstance(given, ast.Constant) else None
        if isinstance(name, str) and not name.startswith("."):
            return [_Block([Import(0, name, None, name)])]
        self._composes_names = True
        return []


class _Block(NamedTuple):
    imports: list[Import]


def _names_bound_by(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return (node.name,) if node.name else ()
    if isinstance(node, ast.MatchMapping):
        return (node.rest,) if node.rest else ()
    return ()


def _makes_late(node: ast.AST, field: str) -> bool:
    """Return whether a node's field is not executed at import time."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return field == "body"
    if isinstance(node, ast.If) and field == "body":
        test = node.test
        return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))
    return False


def _imports(node: ast.Import | ast.ImportFrom) -> list[Import]:
    if isinstance(node, ast.Import):
        return [Import(0, each.name, None, each.asname or each.name) for each in node.names]
    module = node.module or ""
    return [Import(node.level, module, each.name, each.asname or each.name) for each in node.names]


def _is_bare_text(item: object) -> bool:
    """Return whether a statement is only a string, such as a docstring."""
    return (
        isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )


def _flat(node: object) -> list[str | ast.AST]:
    """Return the pieces of an f-string, with adjacent texts joined."""
    found: list[str | ast.AST] = []
    for value in node.values if isinstance(node, ast.JoinedStr) else ():
        pieces = _flat(value) if isinstance(value, ast.JoinedStr) else [value]
        for piece in pieces:
            text = piece.value if isinstance(piece, ast.Constant) else piece
            if isinstance(text, str) and found and isinstance(found[-1], str):
                found[-1] += text
            elif text != "":
                found.append(text if isinstance(text, str) else piece)
    return found


def _literal(value: object) -> str:
    """Write a constant in the same way under every Python."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # Python limits the digits of decimal conversion
    return ascii(value)


def _sha(*texts: str) -> str:
    return hashlib.sha256("\n\n".join(texts).encode()).hexdigest()[:32]
