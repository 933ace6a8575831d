"""Layout of the packages: imports point one way, and no modules import each other in a circle."""

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("ramit_arch", "ramit_model", "datasets_prep")

BRIDGE = "ramit_model.basicsr_bridge"
"""Module of the changes to BasicSR. It registers our networks, data sets and models once BasicSR is imported, which is
why its functions, not the module itself, may import those."""

CHANGES = "ramit_model.basicsr_changes"
"""Module of the replacements that the bridge lists."""

LAYERS = (
    {"ramit_model.system"},
    {"ramit_arch", "datasets_prep", BRIDGE, CHANGES},
    {"ramit_model.data"},
    {"ramit_model.inference"},
    {"ramit_model.training"},
    {"ramit_model.config"},
    {"ramit_model.export"},
    {"ramit_model.benchmark"},
    {"ramit_model.commands"},
    {"ramit_model"},  # cli and __main__
)
"""Parts from the bottom up: each may import those in the layers below it."""

ONLY_SYSTEM = {"datasets_prep", BRIDGE, CHANGES}
NOTHING = {"ramit_arch"}

EXCEPTIONS = {
    ("ramit_arch", BRIDGE),  # the line in `__init__` that installs the bridge
}
"""Pairs of modules, the first of which imports the second against the rule."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports(name: str, *, inside_functions: bool) -> Iterator[str]:
    """Names of all modules, and of what is imported from them, that the module `name` imports."""
    pending: list[ast.AST] = [ast.parse(MODULES[name].read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: use absolute imports"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str, *, inside_functions: bool) -> set[str]:
    # Python imports `ramit_model` itself before any module in it.
    return set(imports(name, inside_functions=inside_functions)) & MODULES.keys() - {name, "ramit_model"}


def part_of(module: str) -> str:
    """The part in `LAYERS` that a module belongs to."""
    parts = [part for layer in LAYERS for part in layer if f"{module}.".startswith(f"{part}.")]
    return max(parts, key=len)


def allowed(part: str) -> set[str]:
    if part in NOTHING:
        return {part}
    if part in ONLY_SYSTEM:
        return {part, "ramit_model.system"}
    height = next(i for i, layer in enumerate(LAYERS) if part in layer)
    return {part}.union(*LAYERS[:height])


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 80
    assert "ramit_model.system.files" in ours("datasets_prep.journal", inside_functions=False)
    assert "datasets_prep.preparation" not in ours("ramit_model.commands.prepare", inside_functions=False)
    assert "datasets_prep.preparation" in ours("ramit_model.commands.prepare", inside_functions=True)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in sorted(MODULES)
        for other in sorted(ours(name, inside_functions=name not in (BRIDGE, CHANGES, "ramit_model")))
        if part_of(other) not in allowed(part_of(name)) and (name, other) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name: ours(name, inside_functions=False) for name in MODULES}
    for name, others in left.items():
        # A package whose `__init__` imports from its own modules is no circle.
        others -= {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, "in a circle, or importing from one"


def test_system_needs_the_standard_library_only() -> None:
    for name in MODULES:
        if part_of(name) == "ramit_model.system":
            foreign = {module.partition(".")[0] for module in imports(name, inside_functions=True)}
            assert foreign <= sys.stdlib_module_names | {"ramit_model"}, name


def test_the_names_of_fast_tests_are_those_of_files() -> None:
    """A renamed file would lose its mark without a word."""
    fast = runpy.run_path(str(ROOT / "tests/conftest.py"))["FAST"]
    assert not fast - {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
