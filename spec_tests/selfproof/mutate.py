"""Generic mutants: one small change to one function of the reference, made in its syntax tree.

A mutant replaces the code of a living function (`function.__code__`), so that every module that imported it sees the
change, and undoes it afterwards: no file is touched and no process started. Not mutated, because the specification
says nothing of them: docstrings, messages and conditions of errors, annotations, and names of fields.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Final

SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
DROPPED: Final = frozenset({"detach", "clamp", "float", "square", "sqrt", "flip", "abs", "exp", "cumsum", "sum"})
"""Method calls that a mutant leaves out."""
MODULES: Final = frozenset({"torch", "math"})


@dataclass(frozen=True)
class Mutant:
    """One change: where it is (`text` is the line of the source), what it was and what it becomes."""

    function: FunctionType
    code: CodeType
    line: int
    text: str
    change: str

    @property
    def name(self) -> str:
        """Where and what, in one line: the name by which a survivor is listed."""
        return f"{self.function.__module__}:{self.function.__qualname__}:{self.line} {self.change}"

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Put the changed code in place for the length of a block."""
        sound = self.function.__code__
        self.function.__code__ = self.code
        try:
            yield
        finally:
            self.function.__code__ = sound


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions and methods that are written in a module, out of whatever checks their types."""
    for value in vars(module).values():
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            yield inspect.unwrap(value)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for member in vars(value).values():
                plain = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if inspect.isfunction(plain) and plain.__module__ == module.__name__:
                    yield inspect.unwrap(plain)


def mutants_of(function: FunctionType) -> Iterator[Mutant]:
    """Yield every mutant of one function."""
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError:
        return  # A function made by a decorator, such as the __init__ of a dataclass, has no source of its own.
    tree = ast.parse(textwrap.dedent("".join(lines)))
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        return
    definition.decorator_list = []
    for node, parent, field, index in list(_places(definition)):
        for change in _changes(node):
            code = _compiled(_replaced(tree, (parent, field, index), change), function)
            if code is not None and _meaning(code) != _meaning(function.__code__):
                place = getattr(node, "lineno", 1) - 1
                what = f"{ast.unparse(node)} -> {ast.unparse(change)}"
                yield Mutant(function, code, first + place, lines[place].strip(), what)


Place = tuple[ast.AST, ast.AST, str, int | None]


def _places(definition: ast.FunctionDef) -> Iterator[Place]:
    """Yield every node that may change, with its parent, field and index."""
    body = definition.body[1:] if ast.get_docstring(definition) else definition.body
    pending: list[ast.AST] = [node for node in body if not _is_check(node)]
    while pending:
        parent = pending.pop()
        for field, value in ast.iter_fields(parent):
            nodes = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, node in nodes:
                if field != "annotation" and isinstance(node, ast.AST) and not _is_check(node):
                    pending.append(node)
                    yield node, parent, field, index


def _is_check(node: ast.AST) -> bool:
    """Whether a node is a message, or a condition under which an error is raised: what is valid is the caller's."""
    guards = isinstance(node, ast.If) and all(isinstance(line, ast.Raise) for line in node.body)
    strict = isinstance(node, ast.keyword) and node.arg == "strict"
    return guards or strict or isinstance(node, ast.Raise | ast.JoinedStr)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in place of a node."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield _with(node, op=SWAPS[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield _with(node, left=node.right, right=node.left)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        yield _with(node, ops=[SWAPS[type(node.ops[0])]()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        # A negative constant counts axes from the end: it changes as a constant.
        yield from [] if isinstance(node.operand, ast.Constant) else [node.operand]
    if isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    if isinstance(node, ast.Constant):
        yield from _other_constants(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED:
        of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES
        yield from [] if of_module else [node.func.value]
    if isinstance(node, ast.Attribute) and node.attr in ("mT", "T"):
        yield node.value


def _other_constants(node: ast.Constant) -> Iterator[ast.Constant]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        if node.value not in (0, 1):
            yield ast.Constant(0 * node.value)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return a copy of a node with some fields replaced."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(tree: ast.Module, place: tuple[ast.AST, str, int | None], change: ast.AST) -> ast.Module:
    """Return the tree with one node replaced; the tree itself stays as it was."""
    parent, field, index = place
    sound = getattr(parent, field)
    if index is None:
        setattr(parent, field, change)
    else:
        setattr(parent, field, [*sound[:index], change, *sound[index + 1 :]])
    mutated = copy.deepcopy(tree)
    setattr(parent, field, sound)
    return ast.fix_missing_locations(mutated)


def _compiled(tree: ast.Module, function: FunctionType) -> CodeType | None:
    """Return the code of the mutated function, or None where it does not fit into the living one."""
    if function.__closure__:
        return None
    module = compile(tree, inspect.getsourcefile(function) or "<mutant>", "exec")
    codes = [constant for constant in module.co_consts if isinstance(constant, CodeType)]
    code = next(code for code in codes if code.co_name == function.__name__)
    return code if code.co_freevars == function.__code__.co_freevars else None


def _meaning(code: CodeType) -> tuple[bytes, str]:
    return code.co_code, repr(code.co_consts) + repr(code.co_names)
