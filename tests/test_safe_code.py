"""No code of this project runs what it reads: checked on syntax trees, not by searching text."""

import ast
import io
from types import SimpleNamespace

import pytest
from snakemake.parser import parse
from snakemake.sourcecache import LocalSourceFile

from workflow_runs import ROOT

SCRIPTS = ROOT / "workflow_scripts"
# what turns bytes into code or objects, reaches the network, or hands words to a shell
MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("code", "codeop", "runpy", "pty", "commands", "ctypes", "cffi"),
    *(
        "urllib",
        "urllib3",
        "requests",
        "httpx",
        "aiohttp",
        "http",
        "ftplib",
        "smtplib",
        "telnetlib",
    ),
    *("xmlrpc", "socketserver", "ssl", "huggingface_hub", "gdown", "wget", "paramiko"),
}
# names that are harmless, of modules that are not; all else of these is forbidden
ALLOWED = {("pickle", "UnpicklingError"), ("socket", "gethostname")}
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint"}
# dotted name of what is called, by its end
CALLS = {
    *("os.system", "os.popen", "os.execv", "os.execve", "os.execvp", "os.execl", "os.execlp"),
    *("os.spawnl", "os.spawnv", "os.spawnvp", "os.posix_spawn", "os.startfile"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"),
    *("asyncio.create_subprocess_shell",),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("yaml.load_all", "torch.hub.load", "torch.jit.load", "torch.package", "torch.compile"),
    *("pd.read_pickle", "pandas.read_pickle", "pd.eval", "pandas.eval", "np.fromregex"),
    *("torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file"),
}
# of any object: transformers and the like fetch what they do not find
METHODS = {"from_pretrained", "push_to_hub"}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name; `?` stands for what is none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_false(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def is_true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def safe_loaders(tree: ast.AST) -> set[str]:
    """Loaders of YAML that make plain values only: PyYAML's, and classes made from them."""
    found = set(SAFE_LOADERS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and {dotted(base) for base in node.bases} & found:
            found.add(node.name)
    return found


def forbidden_import(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [a.name for a in node.names if a.name.split(".")[0] in MODULES]
    if isinstance(node, ast.ImportFrom) and node.module:
        first = node.module.split(".")[0]
        if first in MODULES | {"socket"}:
            return [f"{first}.{a.name}" for a in node.names if (first, a.name) not in ALLOWED]
        return [f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in CALLS]
    return []


def names_a_setting(name: ast.Name, tree: ast.AST) -> bool:
    """`compile: bool = ...` in the body of a class calls nothing."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    lines = [line for body in bodies for line in body if isinstance(line, ast.AnnAssign)]
    return any(line.target is name for line in lines)


def becomes_python(call: ast.Call) -> bool:
    """Words for this Python in this process' place: as with subprocess, no shell reads them."""
    first = dotted(call.args[0]) if call.args else ""
    return dotted(call.func) == "os.execv" and first == "sys.executable"


def forbidden_call(node: ast.Call, loaders: set[str]) -> str:
    name = dotted(node.func)
    given = {k.arg: k.value for k in node.keywords}
    if name in BUILTINS or name in CALLS or name.startswith(("builtins.", "importlib.import")):
        return name
    if "shell" in given and not is_false(given["shell"]):
        return f"{name}(shell=...)"
    if "allow_pickle" in given and not is_false(given["allow_pickle"]):
        return f"{name}(allow_pickle=...)"
    if name in ("np.load", "numpy.load") and len(node.args) > 1:
        return f"{name} with a mode by position"
    if name == "torch.load" and not is_true(given.get("weights_only")):
        return f"{name} without weights_only=True"
    if name == "yaml.load":
        loader = given.get("Loader", node.args[1] if len(node.args) > 1 else None)
        return "" if dotted(loader) in loaders else f"{name} with an unsafe loader"
    return ""


def forbidden(code: str) -> list[str]:
    """What a piece of code does that this project does not do: `line: what`."""
    tree = ast.parse(code)
    loaders = safe_loaders(tree)
    found = []
    harmless = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and becomes_python(node)
        for part in (node, node.func)
    }
    for node in ast.walk(tree):
        if node in harmless:
            continue
        found += [f"{node.lineno}: import {name}" for name in forbidden_import(node)]
        if isinstance(node, ast.Call):
            what = forbidden_call(node, loaders)
            found += [f"{node.lineno}: {what}"] if what else []
        elif isinstance(node, ast.Attribute):
            # also what is passed on and not called here
            module, name = dotted(node.value), node.attr
            if module == "socket" and (module, name) not in ALLOWED:
                found.append(f"{node.lineno}: socket.{name}")
            elif f"{module}.{name}" in CALLS or name in METHODS:
                found.append(f"{node.lineno}: {module}.{name}")
        elif isinstance(node, ast.Name) and node.id in BUILTINS and not names_a_setting(node, tree):
            found.append(f"{node.lineno}: {node.id}")
    return sorted(set(found))


@pytest.mark.parametrize("path", sorted(SCRIPTS.rglob("*.py")), ids=lambda p: p.stem)
def test_no_module_or_script_runs_what_it_reads(path):
    assert forbidden(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path", [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))], ids=lambda p: p.name
)
def test_no_rule_runs_what_it_reads(path):
    # the Python that the engine makes of a file of rules
    text = io.StringIO(path.read_text(encoding="utf-8"))
    cache = SimpleNamespace(open=lambda _: text)
    code, rules = parse(LocalSourceFile(str(path)), SimpleNamespace(sourcecache=cache), {})
    assert forbidden(code) == []
    assert rules or path.name == "common.smk"


UNSAFE = [
    "import pickle",
    "import pickle as p",
    "from pickle import loads",
    "from pickle import *",
    "import os.path, marshal",
    "import urllib.request",
    "from urllib.request import urlopen",
    "import requests",
    "import socket; socket.create_connection(('a', 1))",
    "from socket import create_connection",
    "eval(x)",
    "exec(x)",
    "f = eval",
    "list(map(eval, x))",
    "__import__(x)",
    "compile(x, '', 'exec')",
    "importlib.import_module(x)",
    "builtins.eval(x)",
    "os.system(x)",
    "run = os.system",
    "from os import system",
    "os.popen(x)",
    "os.execv(x, [x])",
    "os.execv(executable, sys.executable)",
    "run = os.execv",
    "subprocess.run(x, shell=True)",
    "subprocess.Popen(x, shell=flag)",
    "subprocess.getoutput(x)",
    "np.load(x, allow_pickle=True)",
    "numpy.load(x, None, True)",
    "np.load(x, allow_pickle=flag)",
    "np.save(x, y, allow_pickle=True)",
    "torch.load(x)",
    "torch.load(x, weights_only=False)",
    "torch.load(x, weights_only=flag)",
    "torch.hub.load(x)",
    "torch.jit.load(x)",
    "yaml.load(x)",
    "yaml.load(x, Loader=yaml.Loader)",
    "yaml.load(x, yaml.FullLoader)",
    "class L(yaml.Loader): pass\nyaml.load(x, Loader=L)",
    "yaml.unsafe_load(x)",
    "pd.read_pickle(x)",
    "tempfile.mktemp()",
    "Network.from_pretrained(x)",
    "make().from_pretrained(x)",
]
SAFE = [
    "from pickle import UnpicklingError",
    "import socket; socket.gethostname()",
    "network.eval()",
    "class Precision(Section):\n    compile: bool = False",
    "network.to(device).eval()",
    "re.compile(x)",
    "subprocess.run([x])",
    "subprocess.run(x, shell=False)",
    "os.execv(sys.executable, [sys.executable, x])",
    "np.load(x)",
    "np.load(x, allow_pickle=False)",
    "torch.load(x, map_location='cpu', weights_only=True)",
    "yaml.safe_load(x)",
    "class L(yaml.SafeLoader): pass\nyaml.load(x, Loader=L)",
    "# eval(x), os.system(x)",
    "'import pickle; eval(x)'",
]


@pytest.mark.parametrize("code", UNSAFE)
def test_what_would_be_unsafe_is_found(code):
    assert forbidden(code) != []


@pytest.mark.parametrize("code", SAFE)
def test_what_is_safe_is_not_taken_for_unsafe(code):
    assert forbidden(code) == []
