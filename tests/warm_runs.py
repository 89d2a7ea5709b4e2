"""Whole runs of the workflow in a process that has the libraries in memory already.

For tests that need dozens of runs. A stage's script runs here as the engine runs it: in a process
of its own, from the description in results/plans/, its code read from disk. All that is saved is
the start of Python and the import of torch and the like, which take longer than a tiny stage: the
process is forked from one that has them. `tests/test_reruns.py` asserts that the engine's files are
the same. As a program this module is the server: a line of JSON in, a line of JSON out.
"""

import contextlib
import json
import os
import queue
import runpy
import subprocess
import sys
import traceback
import types
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow_scripts"


class Runners:
    """Some servers; every call takes one that is free, so calls may come from several threads."""

    def __init__(self, count=2):
        self._servers = [
            subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        self._free = queue.Queue()
        for server in self._servers:
            self._free.put(server)

    def close(self):
        for server in self._servers:
            server.stdin.close()
            server.wait()

    def _ask(self, **request):
        server = self._free.get()
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            answer = json.loads(server.stdout.readline())
        finally:
            self._free.put(server)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def run(self, folder, configs, scripts=SCRIPTS):
        """Run all that is not finished in `folder`; return (stage, key) of every job, in order."""
        configs = [str(path) for path in configs]
        ran = self._ask(what="run", folder=str(folder), configs=configs, scripts=str(scripts))
        return [tuple(pair) for pair in ran]

    def imported(self, stage, scripts=SCRIPTS):
        """Names of our modules that are loaded when the script of a stage is imported.

        Those that no key counts are empty ones here, so what they alone import is not loaded.
        """
        return set(self._ask(what="imported", stage=stage, scripts=str(scripts)))


# --- the server -----------------------------------------------------------------------------------


def _in_a_fork(work):
    """The value that `work` returns in a process of its own. Raises what it raised there, as
    text; `SystemExit` is one of these unless its code is 0."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        try:
            answer = {"result": work()}
        except SystemExit as error:
            answer = {"error": f"exit {error.code}"} if error.code else {"result": None}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        with open(writable, "w") as pipe:
            pipe.write(json.dumps(answer))
        os._exit(0)
    os.close(writable)
    with open(readable) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"error": "the process was killed"}


def _script(scripts, stage, log):
    """What the rules call, in a fork: `python <stage>.py <description> ...`"""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    script = str(Path(scripts, f"{stage.name}.py"))
    sys.argv = [script, stage.description_path, "--threads", "1"]
    # our own modules as in a new process: read from disk again
    for name in [n for n in sys.modules if n == "scalewise" or n.startswith("scalewise.")]:
        del sys.modules[name]
    runpy.run_path(script, run_name="__main__")


def _run(folder, configs, scripts):
    os.chdir(folder)
    sys.path.insert(0, scripts)
    from scalewise import workflow as planning

    plan = planning.load_plan(configs)
    planning.begin(plan)
    waiting = [s for s in plan.stages.values() if not planning.is_finished(s)]
    ran = []
    while waiting:
        unfinished = {(s.name, s.key) for s in waiting}
        stage = next(
            s
            for s in waiting
            if not unfinished & {(o.name, o.key) for o in [*(x.stage for x in s.sources), *s.after]}
        )
        log = Path("results", "printed.log")
        answer = _in_a_fork(lambda stage=stage, log=log: _script(scripts, stage, log))
        if "error" in answer:
            raise RuntimeError(f"{stage.title}: {answer['error']}\n{log.read_text()}")
        if not planning.is_finished(stage):
            raise RuntimeError(f"{stage.title}: files are missing\n{log.read_text()}")
        ran.append((stage.name, stage.key))
        waiting.remove(stage)
    return ran


class _Anything:
    """Stands for whatever is imported from a module that does not count."""

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        return self


def _imported(stage, scripts):
    sys.path.insert(0, scripts)
    import scalewise
    from scalewise.code_digest import UNCOUNTED

    uncounted = set(UNCOUNTED)
    for name in [n for n in sys.modules if n.startswith("scalewise.")]:
        del sys.modules[name]
    for name in uncounted:
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: _Anything()
        sys.modules[name] = module
        setattr(scalewise, name.split(".")[-1], module)
    runpy.run_path(str(Path(scripts, f"{stage}.py")), run_name=stage)
    loaded = {n for n in sys.modules if n == "scalewise" or n.startswith("scalewise.")}
    return sorted(loaded - uncounted)


def _serve():
    # what the stages import besides their own modules
    import cv2  # noqa: F401
    import h5py  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import PIL.Image  # noqa: F401
    import pydantic  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import yaml  # noqa: F401

    # the first optimiser imports a great deal; its own import is all that a step needs of it
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    actions = {"run": _run, "imported": _imported}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        action = actions[request.pop("what")]
        answer = _in_a_fork(lambda action=action, request=request: action(**request))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
