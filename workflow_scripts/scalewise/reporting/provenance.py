"""How the numbers came about: the records (`settings.json`) of all stages behind them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalewise.artifacts.benchmark_tsv import peak_memory
from scalewise.reporting.cells import NONE, duration, number

PACKAGES = ("python", "torch", "numpy")


def records_behind(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The records of the stages that made these files, and of those that made what they were made
    from; each once, with its `folder`. A stage that was cleared away is left out."""
    found = []
    waiting, seen = [path.parent for path in files], set()
    for folder in waiting:
        if folder in seen or not (folder / "settings.json").exists():
            continue
        seen.add(folder)
        record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        found.append({**record, "folder": folder})
        for value in record["inputs"].values():
            files_of_role = value if isinstance(value, list) else [value]
            waiting.extend(Path(file["path"]).parent for file in files_of_role)
    return found


def warnings_in(records: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Stage -> what it warns of; a stage that warns of nothing is in it too."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        said = record["notes"].get("warnings", [])
        found.setdefault(record["stage"], {}).update(dict.fromkeys(said))
    return {stage: list(said) for stage, said in found.items()}


def costs(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each kind of stage cost, the longest first.

    Returns:
        stage; jobs; seconds (of all of them, earlier runs of one that was interrupted included);
        longest (seconds of one job); memory (the most that one job held, in MB; NaN where no
        benchmark of the engine's is there); benchmarks (how many jobs have one); devices.
    """
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(
            record["stage"],
            {
                "stage": record["stage"], "jobs": 0, "seconds": 0.0, "longest": 0.0,
                "memory": float("nan"), "benchmarks": 0, "devices": {},
            },
        )  # fmt: skip
        seconds = record.get("seconds", 0.0)
        row["jobs"] += 1
        row["seconds"] += seconds
        row["longest"] = max(row["longest"], seconds)
        folder, stage = record["folder"], record["stage"]
        memory = peak_memory(folder.parents[1] / "benchmarks" / stage / f"{folder.name}.tsv")
        if memory is not None:
            row["memory"] = max([memory, *([row["memory"]] if row["benchmarks"] else [])])
            row["benchmarks"] += 1
        if record.get("device", "none") != "none":
            row["devices"].setdefault(record["device"])
    for row in rows.values():
        row["devices"] = list(row["devices"])
    return sorted(rows.values(), key=lambda row: -row["seconds"])


def cost_rows(costs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for the page."""
    most = max((row["seconds"] for row in costs), default=0.0)
    return [
        {
            **row,
            "time": duration(row["seconds"]),
            "one": duration(row["longest"]),
            "width": 100 * row["seconds"] / most if most else 0.0,
            "megabytes": number(row["memory"], 0) or NONE,
            "devices": "; ".join(row["devices"]) or NONE,
        }
        for row in costs
    ]


def facts(settings: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What a reader wants to know of how the numbers were made.

    Args:
        settings: of the report.
        records: of all stages behind it.
    """

    def different(records: Iterable[Mapping[str, Any]], get) -> str:
        return "; ".join(dict.fromkeys(filter(None, map(get, records))))

    def versions(record: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {record['versions'][name]}" for name in PACKAGES)

    def place(record: Mapping[str, Any]) -> str:
        return f"{record['device']}, {record['threads']} threads"

    evaluated = [r for r in records if r["stage"] == "evaluate"]
    on_device = [r for r in records if r.get("device", "none") != "none"]
    seeds = sorted({seed for _, seed, _ in settings["evaluations"]})
    found = {
        "Seeds": ", ".join(map(str, seeds)) or NONE,
        "Evaluated with": different(evaluated, versions),
        "Evaluated on": different(evaluated, place),
    }
    others = different(on_device, lambda r: f"{versions(r)}, on {place(r)}")
    if len(others.split("; ")) > 1:
        found["All that ran the network, with and on"] = others
    machines = different(records, lambda r: r.get("machine"))
    if machines:
        found["Machine"] = machines
    seconds = sum(r.get("seconds", 0.0) for r in records)
    found["Run time"] = f"{duration(seconds)} in {len(records)} jobs, one after the other"
    ends = sorted(r["finished"] for r in records if r.get("finished"))
    if ends:
        found["Finished"] = f"from {_moment(ends[0])} to {_moment(ends[-1])} (UTC)"
    found["Portion p by round, where a row says nothing else"] = (
        ", ".join(f"{p:g}" for p in settings["portions"]) or "no round"
    ) + " (each of K classes gives p / K of its images)"
    if settings["pinned"]:
        found["Stages kept over a change of code (code: pinned)"] = ", ".join(settings["pinned"])
    return found


def _moment(text: str) -> str:
    """2025-01-31T12:30:59+00:00 as day and minute."""
    return text[:16].replace("T", " ")
