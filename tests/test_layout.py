"""The laws of the house, read from the code's own text: floors, rooms of the libraries, what must not be there.

docs/architecture.md draws the same floors for a reader; a change of one is a change of the other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sharedllm_cli"

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"config", "errors", "answer", "progress", "home", "memory", "durable", "configuration"}),
    frozenset({"documents", "weights"}),
    frozenset({"context", "model"}),
    frozenset({"retrieval"}),
    frozenset({"generation", "index"}),
    frozenset({"planning", "reading"}),
    frozenset({"answering", "collections"}),
    frozenset({"engine", "lab/plots"}),
    frozenset({"async_engine", "cluster", "serving", "lab/training"}),
    frozenset({"lab/evaluation"}),
    frozenset({"lab/bench"}),
    frozenset({"bench", "cli"}),
)
"""Rooms from the ground up. A room imports itself and lower floors; on the ground floor files may know each other."""

LIBRARIES: dict[str, frozenset[str]] = {
    "accelerate": frozenset({"model", "lab/training"}),
    "bitsandbytes": frozenset({"model"}),
    "bs4": frozenset({"documents"}),
    "charset_normalizer": frozenset({"documents"}),
    "docutils": frozenset({"documents"}),
    "yaml": frozenset({"documents"}),
    "filelock": frozenset({"collections", "index", "weights"}),
    "flash_attn": frozenset({"model"}),
    "gguf": frozenset({"weights"}),
    "huggingface_hub": frozenset({"weights"}),
    "jinja2": frozenset({"generation", "serving"}),
    "lxml": frozenset({"documents"}),
    "mcp": frozenset({"serving"}),
    "markdown_it": frozenset({"documents"}),
    "matplotlib": frozenset({"lab/plots"}),
    "numpy": frozenset(
        {
            *(
                "lab/bench",
                "collections",
                "context",
                "documents",
                "engine",
                "lab/evaluation",
                "generation",
                "index",
                "model",
                "reading",
                "retrieval",
            ),
            *("lab/training", "weights"),
        }
    ),
    "onnxruntime": frozenset({"model"}),
    "PIL": frozenset({"documents"}),
    "pathspec": frozenset({"collections"}),
    "platformdirs": frozenset({"home"}),
    "prompt_toolkit": frozenset({"cli"}),
    "psutil": frozenset({"cli", "collections", "engine", "model"}),
    "pypdf": frozenset({"documents"}),
    "pypdfium2": frozenset({"documents"}),
    "ray": frozenset({"cluster"}),
    "rapidocr": frozenset({"documents"}),
    "rich": frozenset({"cli"}),
    "rouge_score": frozenset({"lab/evaluation"}),
    "safetensors": frozenset({"index", "model", "lab/training", "weights"}),
    "starlette": frozenset({"serving"}),
    "uvicorn": frozenset({"serving"}),
    "snowballstemmer": frozenset({"retrieval"}),
    "tokenizers": frozenset({"weights"}),
    "tomlkit": frozenset({"configuration"}),
    "torch": frozenset(
        {
            "answering",
            "lab/bench",
            "lab/evaluation",
            "generation",
            "index",
            "model",
            "planning",
            "reading",
            "lab/training",
        }
    ),
    "transformers": frozenset({"generation", "model", "weights"}),
    "typer": frozenset({"cli"}),
    "watchfiles": frozenset({"collections"}),
}
"""Where each library may be imported; one that is not here has no room yet."""

EXCEPTIONS = {
    ("cli/doctor.py", "torch"): "doctor asks torch whether there is a GPU, when it is run",
    ("documents/process.py", "psutil"): "what the reading process takes is asked where it keeps others waiting",
    ("lab/bench/reading.py", "pypdfium2"): "reading is timed beside the same library alone",
}

TOP_LEVEL = {"sharedllm_cli", "tests", "docs", "findings", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"}
MOST_LINES = 450
MOST_FUNCTION_LINES = 60
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load"}
SHAPELESS = re.compile(r"_?(utils?|common|helpers?|misc|tools)")
HEAVY = ("torch", "transformers", "numpy", "pypdf", "pypdfium2", "bs4", "docutils", "prompt_toolkit", "matplotlib")


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders or (PACKAGE,) for path in folder.rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file of the package: its first folder, or its own name where it stands alone; lab/ has four."""
    return _room([part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts])


def _room(parts: Sequence[str]) -> str:
    return "/".join(parts[:2]) if parts[0] == "lab" else parts[0]


def floor(name: str) -> int:
    level = next((level for level, rooms in enumerate(FLOORS) if name in rooms), None)
    assert level is not None, f"{name} stands on no floor: draw it here and in docs/architecture.md"
    return level


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted name of every module that a file imports, wherever in the file the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def imported_rooms(path: Path) -> set[str]:
    names = [name.split(".") for name in imported(ast.parse(path.read_text("utf-8")))]
    found = {_room(parts[1:]) for parts in names if parts[0] == "sharedllm_cli" and len(parts) > 1}
    return found - {"__version__", "lab", "lab/__init__"}


class WithoutTypes(ast.NodeTransformer):
    """Leaves out `if TYPE_CHECKING:`, whose imports are never run: a type may be named where no library may be used."""

    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def imported_libraries(path: Path) -> set[str]:
    names = {name.split(".")[0] for name in imported(WithoutTypes().visit(ast.parse(path.read_text("utf-8"))))}
    return names - set(sys.stdlib_module_names) - {"sharedllm_cli", "__future__"}


ROOMS = [path for path in sources() if room(path) not in ("__init__", "__main__", "lab/__init__")]


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_knows_its_own_room_and_lower_floors_only(path: Path) -> None:
    home = room(path)
    for other in imported_rooms(path) - {home}:
        ground = floor(other) == floor(home) == 0
        assert ground or floor(other) < floor(home), f"{path.name}: {home} may not know {other}"


def test_the_package_itself_imports_nothing_until_it_is_used() -> None:
    """Its public names are known to type checkers, and imported one by one (`tests/test_python_api.py`)."""
    tree = WithoutTypes().visit(ast.parse((PACKAGE / "__init__.py").read_text("utf-8")))
    assert {name.split(".")[0] for name in imported(tree)} == {"importlib", "typing"}


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_imported_in_its_own_rooms_only(path: Path) -> None:
    for library in imported_libraries(path):
        assert library in LIBRARIES, f"{library} has no room: name one here and in docs/architecture.md"
        excepted = (path.relative_to(PACKAGE).as_posix(), library) in EXCEPTIONS
        assert excepted or room(path) in LIBRARIES[library], f"{library} does not belong in {room(path)}"


def test_what_is_imported_is_declared() -> None:
    """Nothing leans on a library that some other library happens to bring along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = [
        requirement
        for name in ("cluster", "eval", "flash", "serve", "mcp", "ocr", "watch")
        for requirement in optional[name]
    ]
    requirements = [*project["dependencies"], *extras]
    declared = {re.split(r"[\[<>=;~ ]", requirement)[0] for requirement in requirements}
    providers = metadata.packages_distributions()
    for library in set().union(*(imported_libraries(path) for path in sources())):
        distributions = {name.lower().replace("_", "-") for name in providers.get(library, [library])}
        assert distributions & declared, f"{library} is not in pyproject.toml"


def test_the_drawing_names_every_room() -> None:
    drawing = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```")[1]
    drawing = re.sub(r"\n +", " ", drawing)  # a line that begins with spaces belongs to the floor above it
    for name in {room(path) for path in ROOMS}:
        drawn = re.search(rf"^(\d+) .*(?<![\w/]){name}(/|\.py)", drawing, re.MULTILINE)
        assert drawn, f"{name} is not in the drawing"
        assert int(drawn[1]) == floor(name)


def test_the_top_level_holds_what_it_should() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    entries = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {entry for entry in entries if not entry.startswith(".")} == TOP_LEVEL


def test_no_shapeless_names() -> None:
    names = [
        part.removesuffix(".py") for path in sources(PACKAGE, ROOT / "tests") for part in path.relative_to(ROOT).parts
    ]
    assert [name for name in names if SHAPELESS.fullmatch(name)] == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    """No pickle in any form, no code from a model's repository, no eval."""
    tree = ast.parse(path.read_text("utf-8"))
    assert not UNSAFE_MODULES & {name.split(".")[0] for name in imported(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in UNSAFE_CALLS
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False, f"line {node.lineno}"


def test_files_can_be_read_in_one_go() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources(PACKAGE, ROOT / "tests")}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_functions_are_short() -> None:
    """Counted from the first line of the body: a command's signature is as long as its options are many."""
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                length = node.end_lineno - node.body[0].lineno + 1
                if length > MOST_FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = length
    assert long == {}


@pytest.mark.parametrize("line", ["--help", "--version", "ask --help", "models --help", "doctor --help"])
def test_help_loads_nothing_heavy(line: str) -> None:
    code = (
        "import sys\n"
        "from sharedllm_cli.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\n"
        f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
