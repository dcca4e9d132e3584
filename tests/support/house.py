"""The house rules that no linter knows, as functions from a module's syntax tree to what is wrong with it.

`tests/check/test_house_rules.py` runs every rule over the package, and every rule over a sample it must object to.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "qdrant_backup"

LONGEST_FUNCTION = 60
USUAL_FUNCTION = 30
LONGEST_MODULE = 400
SHARE_WITHIN_USUAL = 0.9

CONSOLE = "cli/console.py"
PROGRESS = "cli/progress.py"  # draws bars through rich, on standard error
EXITS = "cli/exits.py"
CLOCK = "clock.py"
FACES = ("cli/", "dashboard/")
# The engine may panic in ways that derive from BaseException, so the processes it runs in are houses of their own.
ENGINE_PROCESSES = frozenset({"engine/child.py", "engine/halves.py", "engine/nursery.py", "engine/rest/__main__.py"})
BROAD_PLACES = frozenset(
    {EXITS, "engine/child.py", "engine/halves.py", "engine/rest/opened.py", "engine/rest/shards.py"}
)

CLOCK_NAMES = frozenset(
    f"time.{name}{suffix}" for name in ("time", "monotonic", "perf_counter", "process_time") for suffix in ("", "_ns")
) | {
    "time.sleep",
    "time.localtime",
    "time.gmtime",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}
ENVIRONMENT_NAMES = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"})
STREAMS = frozenset({"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"})
PRINTING_NAMES = frozenset(f"{stream}.{verb}" for stream in STREAMS for verb in ("write", "writelines", "buffer")) | {
    "print",
    "input",
    "click.echo",
    "click.secho",
    "click.confirm",
    "click.prompt",
    "rich.print",
    "rich.console.Console",
}

EXIT_NAMES = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit", "SystemExit"})
BROAD = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})
ONE_SYSTEM_ONLY = frozenset({"resource", "fcntl", "termios", "pwd", "grp", "pty", "tty", "msvcrt", "winreg", "_winapi"})
EMPTY_NAMES = re.compile(
    r"(manager|handler|util|utils|helper|helpers|misc|common)$|^(util|utils|helper|helpers|misc|common)s?(_|$)",
    re.IGNORECASE,
)


_parse = functools.cache(ast.parse)


@dataclasses.dataclass(frozen=True)
class Module:
    """One source file: its path below the package (`engine/child.py`), its text, and the tree of it."""

    path: PurePosixPath
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text)

    @property
    def in_a_face(self) -> bool:
        return str(self.path).startswith(FACES)


def package_modules() -> list[Module]:
    """Every module of the package."""
    return [
        Module(PurePosixPath(path.relative_to(PACKAGE).as_posix()), path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def sample(path: str, text: str) -> Module:
    """A module that stands nowhere, to try a rule on."""
    return Module(PurePosixPath(path), text)


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each local name stands for: `from time import sleep as nap` gives nap: time.sleep."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def _uses(module: Module, forbidden: frozenset[str]) -> list[str]:
    tree = module.tree
    names = _imported(tree)
    found = [
        f"{module.path}:{node.lineno} uses {dotted}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name) and (dotted := _dotted(node, names)) in forbidden
    ]
    imports = [
        f"{module.path}:{node.lineno} imports {node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in forbidden
    ]
    return found + imports


def reads_the_clock(module: Module) -> list[str]:
    """Only clock.py knows the time and waits; the embedded server also waits in its event loop."""
    if str(module.path) == CLOCK:
        return []
    waits = frozenset() if str(module.path).startswith("engine/rest/") else frozenset({"asyncio.sleep"})
    return _uses(module, CLOCK_NAMES | waits)


def reads_the_environment(module: Module) -> list[str]:
    """Only the faces read the environment; all else is handed settings."""
    return [] if module.in_a_face else _uses(module, ENVIRONMENT_NAMES)


def prints(module: Module) -> list[str]:
    """Only the console, and the engine's processes, which have nobody to speak for them.

    The faces may hand the streams on, as to the console; everybody else has no business with them.
    """
    if str(module.path) in {CONSOLE, *ENGINE_PROCESSES}:
        return []
    if str(module.path) == PROGRESS:
        return _uses(module, PRINTING_NAMES - {"rich.console.Console"})
    return _uses(module, PRINTING_NAMES if module.in_a_face else PRINTING_NAMES | STREAMS)


def exits(module: Module) -> list[str]:
    """Only the faces end the process, and the engine's processes themselves."""
    return [] if module.in_a_face or str(module.path) in ENGINE_PROCESSES else _uses(module, EXIT_NAMES)


def _swallows(caught: ast.ExceptHandler) -> bool:
    """Whether an exception may end here: cleaning up and raising it again is no swallowing."""
    last = caught.body[-1]
    return not (isinstance(last, ast.Raise) and last.exc is None)


def broad_excepts(module: Module) -> list[str]:
    """Handlers that stop every exception, wherever they stand."""
    tree = module.tree
    names = _imported(tree)
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if _swallows(node) and any(kind is None or _dotted(kind, names) in BROAD for kind in kinds):
                found.append(f"{module.path}:{node.lineno} catches everything")
        elif (
            isinstance(node, ast.Call)
            and _dotted(node.func, names) == "contextlib.suppress"
            and any(_dotted(argument, names) in BROAD for argument in node.args)
        ):
            found.append(f"{module.path}:{node.lineno} suppresses everything")
    return found


def catches_broadly(module: Module) -> list[str]:
    """One broad handler where errors become exits, and one at each of the engine's borders; none elsewhere."""
    found = broad_excepts(module)
    return found[1:] if str(module.path) in BROAD_PLACES else found


def _is_guard(node: ast.AST) -> bool:
    """`if sys.platform ...`, `if os.name ...`, `if TYPE_CHECKING`, or `try: ... except ImportError`."""
    if isinstance(node, ast.If):
        return any(word in ast.unparse(node.test) for word in ("platform", "os.name", "TYPE_CHECKING"))
    if isinstance(node, ast.Try):
        return any(
            caught.type is not None and re.search("ImportError|ModuleNotFoundError", ast.unparse(caught.type))
            for caught in node.handlers
        )
    return False


def _unguarded(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not _is_guard(child):
            yield child
            yield from _unguarded(child)


def imports_of_one_system(module: Module) -> list[str]:
    """What only Unix or only Windows has is imported behind a guard, so that the others still start."""
    found: list[str] = []
    for node in _unguarded(module.tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted = [node.module or ""]
        else:
            continue
        found += [f"{module.path}:{node.lineno} imports {name} unguarded" for name in wanted if name in ONE_SYSTEM_ONLY]
    return found


def empty_names(module: Module) -> list[str]:
    """Names that say nothing about what the thing is for."""
    found = [
        f"{module.path} is named {part}" for part in module.path.parts if EMPTY_NAMES.search(PurePosixPath(part).stem)
    ]
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        vague = node.name == "process" and not isinstance(node, ast.ClassDef)
        if vague or EMPTY_NAMES.search(node.name):
            found.append(f"{module.path}:{node.lineno} is named {node.name}")
    return found


def function_lengths(module: Module) -> list[tuple[int, str]]:
    """The length in lines of every function, with where it stands; decorators and docstring are not counted."""
    lengths: list[tuple[int, str]] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (first.end_lineno or first.lineno) - first.lineno + 1
            lengths.append((lines, f"{module.path}:{node.lineno} {node.name}"))
    return lengths


def too_long(module: Module) -> list[str]:
    """No function over 60 lines, no module over 400."""
    found = [f"{where} has {lines} lines" for lines, where in function_lengths(module) if lines > LONGEST_FUNCTION]
    lines = module.text.count("\n")
    return [*found, f"{module.path} has {lines} lines"] if lines > LONGEST_MODULE else found


def within_usual_length(modules: list[Module]) -> float:
    """The share of functions that keep within 30 lines."""
    lengths = [lines for module in modules for lines, _ in function_lengths(module)]
    return sum(lines <= USUAL_FUNCTION for lines in lengths) / len(lengths)


RULES: dict[str, Callable[[Module], list[str]]] = {
    "clock": reads_the_clock,
    "environment": reads_the_environment,
    "printing": prints,
    "exits": exits,
    "broad except": catches_broadly,
    "one system": imports_of_one_system,
    "names": empty_names,
    "length": too_long,
}
