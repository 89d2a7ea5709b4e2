"""What counts as a stage's code: every change of meaning, no change of looks, every import."""

import ast
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scalewise.code_digest import UNCOUNTED, CodeBase, source_digest
from scalewise.plan import OUTPUTS

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
MODULES = [
    path
    for path in sorted(SCRIPTS.rglob("*.py"))
    if path.stat().st_size > 500
    and "streets" not in path.as_posix()  # large: slow, and they say no more
]
WITHOUT_NETWORK = [
    "make_streets",
    "scan_images",
    "scan_labels",
    "check_data",
    "select_images",
    "compute_thresholds",
    "check_round",
    "audit_pseudo_labels",
    "report",
]

PLAIN = """
import math

def f(a, b=2, *, c=(1, 2)):
    x = [a, b]
    return f"{a:.3f} of {b}" if a > b else math.sqrt(b) + 1
"""


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace("import math", '"""A module."""\n\nimport math  # mathematics'),
        PLAIN.replace("    x =", '    """A docstring."""\n\n\n    # a comment\n    x ='),
        PLAIN.replace('f"{a:.3f} of {b}"', "f'{a:.3f} of {b}'"),
        PLAIN.replace("[a, b]", "[\n        a,\n        b,\n    ]"),
        PLAIN.replace("math.sqrt(b) + 1", "((math.sqrt((b))) + (1))"),
        PLAIN.replace("    x = [a, b]\n", "    x = [a, b];\\\n\n"),
        PLAIN.replace("return ", "return (").replace("+ 1", "+ 1)"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("    ", "  "),
        PLAIN.replace('f"{a:.3f} of {b}"', 'f"{a:.3f}" " of " f"{b}"'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(other):
    assert other != PLAIN
    assert source_digest(other) == source_digest(PLAIN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("b=2", "b=3"),
        ("b=2", "b=2.0"),
        ("b=2", "b=True"),
        ("b=2", "b=None"),
        ("b=2", "b='2'"),
        ("b=2", "b=b'2'"),
        ("b=2", "b"),
        ("b=2", "b=-2"),
        ("*, c", "c"),
        ("(1, 2)", "[1, 2]"),
        ("(1, 2)", "(2, 1)"),
        ("a > b", "a >= b"),
        ("a > b", "b > a"),
        (".3f", ".2f"),
        ("{a:.3f}", "{a!r:.3f}"),
        (" of ", " in "),
        ('f"{a:.3f} of {b}"', '"{a:.3f} of {b}"'),
        ("+ 1", "- 1"),
        ("def f", "def g"),
        ("def f", "async def f"),
        ("\ndef f", "\n@cache\ndef f"),
        ("math.sqrt(b)", "math.cbrt(b)"),
        ("x = [a, b]", "x = [a, *b]"),
        ("x = [a, b]", "x: list = [a, b]"),
        ("x = [a, b]", "y = [a, b]"),
        ("x = [a, b]", "global x"),
        ("import math", "import math as m"),
        ("import math", "from math import sqrt"),
        ("    x = [a, b]\n    return", "    return"),
    ],
)
def test_every_change_of_meaning_counts(old, new):
    assert old in PLAIN
    assert source_digest(PLAIN.replace(old, new, 1)) != source_digest(PLAIN)


def test_constants_that_are_equal_but_not_the_same_differ():
    digests = {
        source_digest(f"x = {c}")
        for c in ("1", "True", "1.0", "1j", "'1'", "b'1'", "0", "False", "0.0", "-0.0", "''", "b''",
                  "None", "...", "()", "[]", "{}")
    }  # fmt: skip
    assert len(digests) == 17


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{**a, 'b': 1}", "{'b': 1, **a}"),
        ("x[1:]", "x[:1]"),
        ("x[1:]", "x[::1]"),
        ("f(*a)", "f(**a)"),
        ("lambda *a: 0", "lambda **a: 0"),
        ("lambda a, /: 0", "lambda a: 0"),
        ("lambda *, a=1, b: 0", "lambda *, a, b=1: 0"),
        ("[i for i in a if i]", "[i for i in a]"),
        ("(yield)", "(yield x)"),
        ("a < b < c", "(a < b) < c"),
        ("a and b or c", "a and (b or c)"),
        ("'a' 'b'", "'a', 'b'"),
    ],
)
def test_structure_counts(one, other):
    assert source_digest(one) != source_digest(other)
    assert source_digest(f"def f():\n    return {one}") != source_digest(
        f"def f():\n    return {other}"
    )


def test_a_string_that_is_no_docstring_counts():
    assert source_digest("x = 1\n'said'") != source_digest("x = 1\n'done'")
    assert source_digest("'doc'\n'said'") != source_digest("'doc'\n'done'")
    assert source_digest("if x:\n    'said'") != source_digest("if x:\n    'done'")


# --- the project's own modules --------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_writing_a_module_out_anew_keeps_its_digest(path):
    """`ast.unparse` drops comments and changes quotes, brackets and line breaks."""
    source = path.read_text(encoding="utf-8")
    assert source_digest(ast.unparse(ast.parse(source))) == source_digest(source)


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield id(first)
                yield id(first.value)


def mutations(tree):
    """Yield (what, do) for every small change of meaning; `do` changes the tree in place."""
    spared = set(docstrings(tree))
    for node in ast.walk(tree):
        if id(node) in spared:
            continue
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool):
                yield "bool", lambda n=node: setattr(n, "value", int(n.value))
            elif isinstance(node.value, int | float):
                yield "number", lambda n=node: setattr(n, "value", 2 * n.value + 1)
                yield (
                    "type of number",
                    lambda n=node: setattr(
                        n, "value", float(n.value) if isinstance(n.value, int) else int(n.value)
                    ),
                )
            elif isinstance(node.value, str):
                yield "text", lambda n=node: setattr(n, "value", n.value + "x")
        elif isinstance(node, ast.Name):
            yield "name", lambda n=node: setattr(n, "id", n.id + "_")
        elif isinstance(node, ast.Attribute):
            yield "attribute", lambda n=node: setattr(n, "attr", n.attr + "_")
        elif isinstance(node, ast.arg):
            yield "argument", lambda n=node: setattr(n, "arg", n.arg + "_")
        elif isinstance(node, ast.BinOp):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield "operator", lambda n=node, o=other: setattr(n, "op", o)
        elif isinstance(node, ast.Compare):
            other = ast.Lt() if isinstance(node.ops[0], ast.LtE) else ast.LtE()
            yield "comparison", lambda n=node, o=other: n.ops.__setitem__(0, o)
        elif isinstance(node, ast.FunctionDef):
            yield (
                "decorator",
                lambda n=node: n.decorator_list.append(ast.Name("cached", ast.Load())),
            )
            if node.args.defaults:
                yield "default", lambda n=node: n.args.defaults.__setitem__(-1, ast.Constant("new"))
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and id(body[0]) not in spared:
            if ast.dump(body[0]) != ast.dump(body[1]):
                yield "order", lambda b=body: b.__setitem__(slice(0, 2), [b[1], b[0]])
            yield "statement", lambda b=body: b.pop(1)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_any_mutation_of_a_module_changes_its_digest(path):
    source = path.read_text(encoding="utf-8")
    whole = source_digest(source)
    count = sum(1 for _ in mutations(ast.parse(source)))
    chosen = random.Random(path.name).sample(range(count), min(count, 5))
    for number in chosen:
        tree = ast.parse(source)
        what, do = list(mutations(tree))[number]
        do()
        changed = ast.unparse(ast.fix_missing_locations(tree))
        assert source_digest(changed) != whole, (what, number)


# --- which files ----------------------------------------------------------------------------------


@pytest.fixture
def scripts(tmp_path):
    """A small package of the shape of ours; returns a function that writes a file of it."""

    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    write("stage.py", "from scalewise.a import b\n")
    write("scalewise/__init__.py", "")
    write("scalewise/a/__init__.py", "")
    write("scalewise/a/b.py", "x = 1\n")
    write("scalewise/other.py", "y = 1\n")
    write("scalewise/job.py", "from scalewise import other\n")
    write.folder = tmp_path
    return write


def files(scripts):
    return set(CodeBase(scripts.folder).files("stage"))


PACKAGES = {"stage.py", "scalewise/__init__.py"}
INNER = PACKAGES | {"scalewise/a/__init__.py"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from scalewise.a import b", INNER | {"scalewise/a/b.py"}),
        ("from scalewise.a.b import x", INNER | {"scalewise/a/b.py"}),
        ("from scalewise.a.b import x as z, y", INNER | {"scalewise/a/b.py"}),
        ("import scalewise.a.b", INNER | {"scalewise/a/b.py"}),
        ("import scalewise.a.b as short, os", INNER | {"scalewise/a/b.py"}),
        ("from scalewise import other", PACKAGES | {"scalewise/other.py"}),
        ("from scalewise.a import name_of_init", INNER),
        ("def f():\n    from scalewise.a import b", INNER | {"scalewise/a/b.py"}),
        ("if x:\n    import scalewise.other", PACKAGES | {"scalewise/other.py"}),
        ("import numpy, scalewisely", {"stage.py"}),
        ("from scalewise import job", PACKAGES),
    ],
)
def test_imports_of_every_form_are_followed(scripts, line, found):
    scripts("stage.py", line)
    assert files(scripts) == found


def test_imports_are_followed_through_modules_and_inits_and_circles(scripts):
    scripts("scalewise/a/__init__.py", "from scalewise import other\n")
    scripts("scalewise/other.py", "import scalewise.third\n")
    scripts("scalewise/third.py", "import scalewise.other\n")
    assert files(scripts) == INNER | {
        "scalewise/a/b.py",
        "scalewise/other.py",
        "scalewise/third.py",
    }


def test_a_change_counts_where_it_is_imported_and_nowhere_else(scripts):
    before = CodeBase(scripts.folder).digest("stage")
    scripts("scalewise/other.py", "y = 2\n")
    assert CodeBase(scripts.folder).digest("stage") == before
    scripts("scalewise/a/b.py", "x = 1  # one\n")
    assert CodeBase(scripts.folder).digest("stage") == before
    scripts("scalewise/a/b.py", "x = 2\n")
    changed = CodeBase(scripts.folder).digest("stage")
    assert changed != before
    scripts("scalewise/a/__init__.py", "z = 1\n")
    assert CodeBase(scripts.folder).digest("stage") not in (before, changed)


def test_the_same_code_elsewhere_has_the_same_digest(scripts, tmp_path):
    copy = tmp_path / "elsewhere" / "deep"
    shutil.copytree(scripts.folder / "scalewise", copy / "scalewise")
    shutil.copy(scripts.folder / "stage.py", copy)
    assert CodeBase(copy).digest("stage") == CodeBase(scripts.folder).digest("stage")


def test_moving_code_to_another_module_counts(scripts):
    before = CodeBase(scripts.folder).digest("stage")
    scripts("stage.py", "from scalewise.a import b\nimport scalewise.other\n")
    scripts("scalewise/other.py", "")
    assert CodeBase(scripts.folder).digest("stage") != before


def test_a_file_of_the_modules_name_beside_it_counts(scripts):
    before = CodeBase(scripts.folder).digest("stage")
    scripts("scalewise/a/b.html.j2", "<p>")
    assert files(scripts) == INNER | {"scalewise/a/b.py", "scalewise/a/b.html.j2"}
    one = CodeBase(scripts.folder).digest("stage")
    scripts("scalewise/a/b.html.j2", "<div>")
    assert len({before, one, CodeBase(scripts.folder).digest("stage")}) == 3


def test_what_editors_leave_beside_a_module_does_not_count(scripts):
    before = CodeBase(scripts.folder).digest("stage")
    for name in ("b.py~", "b.py.orig", "b.pyc", "b.html.j2~", ".b.py.swp", "b.tmp", "c.html"):
        scripts(f"scalewise/a/{name}", "x")
    (scripts.folder / "scalewise" / "a" / "b.d").mkdir()
    assert CodeBase(scripts.folder).digest("stage") == before


# --- the project's own stages ---------------------------------------------------------------------


def test_every_stage_has_a_script_and_a_digest_of_its_own():
    code = CodeBase(SCRIPTS)
    digests = [code.digest(stage) for stage in OUTPUTS]
    assert len(set(digests)) == len(OUTPUTS)
    assert all(len(d) == 16 for d in digests)


@pytest.mark.parametrize("stage", OUTPUTS)
def test_no_setting_and_no_plan_counts_as_code_of_a_stage(stage):
    used = CodeBase(SCRIPTS).files(stage)
    assert f"{stage}.py" in used
    for module in ("config", "plan", "workflow", "code_digest", "job", "progress", "devices"):
        assert f"scalewise/{module}.py" not in used


def test_the_uncounted_modules_are_there():
    for name in UNCOUNTED:
        assert SCRIPTS.joinpath(*name.split(".")).with_suffix(".py").is_file()


def test_the_page_of_the_report_counts_for_the_report_alone():
    code = CodeBase(SCRIPTS)
    template = "scalewise/reporting/page.html.j2"
    assert [stage for stage in OUTPUTS if template in code.files(stage)] == ["report"]


def test_code_of_the_data_and_of_training_stays_apart():
    code = CodeBase(SCRIPTS)
    for stage in WITHOUT_NETWORK:
        assert not [f for f in code.files(stage) if f.startswith(("scalewise/training/",))]
    drawing = [
        stage
        for stage in OUTPUTS
        if any(f.startswith("scalewise/data/streets") for f in code.files(stage))
    ]
    assert drawing == ["make_streets"]


IMPORT = """
import sys
sys.path.insert(0, {folder!r})
import importlib
{body}
print(*sorted(m for m in sys.modules if m in ("torch", "scalewise.config", "scalewise.plan")))
"""


def loaded(stages):
    body = "\n".join(f"importlib.import_module({stage!r})" for stage in stages)
    program = IMPORT.format(folder=str(SCRIPTS), body=body)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_stages_without_the_network_do_not_load_torch():
    assert loaded(WITHOUT_NETWORK) == []


def test_no_stage_loads_the_settings_or_the_plan_when_it_runs():
    assert loaded(OUTPUTS) == ["torch"]
