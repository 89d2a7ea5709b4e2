"""Python runs this at the start of each job of benchmarks/overhead.py: it notes when modules are
imported, wherever that is, and leaves a file about it at the end."""

import atexit
import json
import os
import sys
import threading
import time
from importlib import _bootstrap

_spans: list[tuple[float, float]] = []
_thread = threading.local()
_find_and_load = _bootstrap._find_and_load


def _timed(name, importing):
    if getattr(_thread, "imports", False):  # for another module, whose time it is
        return _find_and_load(name, importing)
    _thread.imports, begun = True, time.time()
    try:
        return _find_and_load(name, importing)
    finally:
        _thread.imports = False
        _spans.append((begun, time.time()))


@atexit.register
def _write() -> None:
    folder = os.environ.get("SCALEWISE_IMPORT_TIMES")
    if folder and len(sys.argv) > 1 and sys.argv[1].endswith(".json"):
        names = sorted(name for name in sys.modules if "." not in name)
        content = {"description": sys.argv[1], "spans": _spans, "modules": names}
        with open(os.path.join(folder, f"{os.getpid()}.json"), "w") as file:
            json.dump(content, file)


_bootstrap._find_and_load = _timed
