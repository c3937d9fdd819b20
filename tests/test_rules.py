"""Promises that the tree keeps: order of imports, sizes, assets with checksums, a true README."""

import ast
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = "errors places threads data model training analysis tasks benchmark reporting jobs ui".split()
MODULES = sorted((ROOT / "scfviz").rglob("*.py"))
PAGES = sorted((ROOT / "pages").glob("*.py"))


def imports(path: Path, *, checked_types: bool = True) -> set[str]:
    """Dotted names of everything a file imports, also inside functions, and below TYPE_CHECKING if asked for."""
    names, skipped = set(), set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= set() if checked_types else set(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    layer = path.relative_to(ROOT / "scfviz").parts[0].removesuffix(".py")
    if layer in ("__init__", "__main__", "commands"):
        return
    allowed = ORDER[: ORDER.index(layer) + 1]
    for name in imports(path):
        top = name.split(".")
        if top[0] == "scfviz" and len(top) > 1 and top[1] != "__version__":
            assert top[1] in allowed, f"{path.name} ({layer}) imports {name}"
        if top[0] == "streamlit":
            assert layer == "ui", f"{path.name} imports streamlit"


def test_enter_in_a_list_takes_one_name():
    """Streamlit's first row is "Select all matches", and Enter takes it: CD3E and Enter chose 53 genes."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "multiselect":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                never = given.get("select_all")
                assert isinstance(never, ast.Constant) and never.value is False, f"{path.name}:{node.lineno}"


def test_nothing_to_click_is_drawn_anew_by_itself():
    """A click that meets a redraw is lost: Stop on a progress card was, on a busy machine once in ten times."""
    found = 0
    for path in MODULES:
        functions = {
            node.name: node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        timed = [
            name for name, node in functions.items() if "run_every" in "".join(map(ast.unparse, node.decorator_list))
        ]
        found += len(timed)
        reached: set[str] = set()
        while timed:
            reached.add(name := timed.pop())
            called = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            timed += [other for other in called & set(functions) if other not in reached]
        for name in reached:
            text = ast.unparse(functions[name])
            widget = re.search(
                r"\.(button|download_button|selectbox|multiselect|toggle|checkbox|radio|slider|\w+_input)\(", text
            )
            assert widget is None, f"{path.name}: {name} draws {widget[0]} every few seconds"
    assert found


def test_no_modules_need_each_other():
    """Also not inside functions; what only a type checker reads is no import."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    needs: dict[str, set[str]] = {}
    for module, path in names.items():
        if module == "scfviz":
            continue
        found = {name if name in names else name.rpartition(".")[0] for name in imports(path, checked_types=False)}
        needs[module] = {name for name in found if name in names} - {module, "scfviz"}
    while free := {module for module, others in needs.items() if not others & set(needs)}:
        needs = {module: others for module, others in needs.items() if module not in free}
    assert not needs, f"these import each other in a circle, or what does: {sorted(needs)}"


@pytest.mark.parametrize("path", [ROOT / "app.py", *PAGES], ids=lambda p: p.name)
def test_pages_import_streamlit_and_ui_only(path):
    ours = {name for name in imports(path) if not name.startswith(("scfviz.ui", "streamlit"))}
    assert not {name for name in ours if name.split(".")[0] not in sys.stdlib_module_names}, ours


def test_modules_and_pages_keep_their_size():
    limits = {path: 450 for path in MODULES} | {path: 90 for path in PAGES}
    long = {p.name: n for p, limit in limits.items() if (n := len(p.read_text(encoding="utf-8").splitlines())) > limit}
    assert not long


def test_import_is_light_and_does_nothing():
    heavy = "torch anndata scanpy streamlit plotly umap sklearn pandas numpy".split()
    code = (
        f"import sys, scfviz, scfviz.__main__; print([m for m in {heavy} if m in sys.modules]);"
        "print([m for m in sys.modules if m.startswith('scfviz.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Ctrl-C while more than that is imported would be a traceback: `main` imports the rest and answers it.
    assert result.stdout.splitlines() == ["[]", "['scfviz.__main__']"]


def test_only_the_command_line_prints():
    for path in MODULES:
        if path.name == "__main__.py" or path.parent.name == "commands":
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path.name


def test_only_tables_of_numbers_are_laid_out_by_hand():
    """Elsewhere `ruff format` decides; the rooms of the three youngest tasks may have a few more."""
    found = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        skipped = {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("  # fmt: skip")}
        for node in ast.walk(ast.parse(text)) if skipped else ():
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.end_lineno in skipped:
                constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                n_numbers = sum(isinstance(value, int | float) for value in constants)
                if n_numbers >= 8 and 2 * n_numbers >= len(constants):
                    skipped.remove(node.end_lineno)
        found += [f"{path.relative_to(ROOT)}:{number}" for number in sorted(skipped)]
    young = [place for place in found if re.search("annotation|enhancement|mapping|ui/tasks/result", place)]
    assert not set(found) - set(young), "remove `# fmt: skip` and run `ruff format`"
    assert len(young) <= 12, "remove `# fmt: skip` where it is not at a table of numbers, and run `ruff format`"


def test_names_are_the_fields_words():
    """Private words for things that the field has a name for; modules, functions, classes and their parameters."""
    banned = re.compile(r"(^|_)(looked|look(ed)?_at|handout|let_go|wish(es)?|anew|hand_on|take_away)(_|$)")
    for path in [*MODULES, *PAGES]:
        names = {path.stem}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.arg | ast.Name | ast.Attribute):
                names.add(next(getattr(node, part) for part in ("name", "arg", "id", "attr") if hasattr(node, part)))
        found = {name for name in names if banned.search(name.lower())}
        assert not found, f"{path.name}: {found}"


def test_a_representation_is_not_called_a_way():
    for folder in ("tasks", "ui/tasks"):
        for path in (ROOT / "scfviz" / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            assert not {node.id for node in nodes if isinstance(node, ast.Name)} & {"way", "ways", "WAYS"}, path.name


def test_no_door_is_open_to_hostile_files():
    pattern = re.compile(
        r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|pickle\.loads?\(|unsafe_allow_html\s*=\s*True"
    )
    assert not [p.name for p in [*MODULES, *PAGES, ROOT / "app.py"] if pattern.search(p.read_text(encoding="utf-8"))]


def test_every_asset_is_listed_with_its_checksum():
    lines = (ROOT / "assets" / "checksums.tsv").read_text(encoding="utf-8").splitlines()[1:]
    listed = dict(line.split("\t") for line in lines)
    own = {"README.md", "checksums.tsv"}
    files = {p.relative_to(ROOT / "assets").as_posix(): p for p in (ROOT / "assets").rglob("*") if p.is_file()}
    actual = {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items() if name not in own}
    assert listed == actual


def test_every_requirement_has_a_bound_and_says_who_needs_it():
    for line in "".join((ROOT / f"requirements{part}.txt").read_text() for part in ("", "-dev")).splitlines():
        assert re.match(r"[a-z0-9_.-]+(\[[a-z]+\])?(>=|==)[\d.]+(,<[\d.]+)?\s+# \w+", line), line


def test_readme_shows_the_tree_as_it_is():
    """The tree block names exactly the top level, the pages, and the parts of the package."""
    block = re.search(r"```tree\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert block, "README.md has a ```tree block"
    shown, folder = set(), ""
    for line in block.group(1).splitlines():
        name = line.split()[0]
        shown.add(folder + name if line.startswith("  ") else name)
        folder = folder if line.startswith("  ") else name
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [path for path in tracked.splitlines() if not path.startswith(".")]
    actual = {head + "/" if rest else head for head, _, rest in (path.partition("/") for path in paths)}
    for opened in ("scfviz/", "pages/"):
        inside = [path.removeprefix(opened) for path in paths if path.startswith(opened)]
        actual |= {opened + (head + "/" if rest else head) for head, _, rest in (p.partition("/") for p in inside)}
    assert shown == actual
