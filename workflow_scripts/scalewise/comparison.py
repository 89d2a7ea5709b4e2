"""What finished results say of themselves, and in what a stage of the plan differs from one.

A result's `settings.json` is called its record here. Only what determines a result is compared:
settings, data files, code, and which results the stage reads.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalewise.config.fields import shown
from scalewise.plan import SETTINGS_FILE, Stage, folder_of

# settings that say whose result it is: with another seed or round it is another result
WHOSE = ("seed", "round")
_FILES_NAMED = 5


class Difference(NamedTuple):
    """One way in which a stage differs from a record.

    kind: setting, data, code or input; name: the setting's dotted key, the role of the data or of
    the input, the file of code ("" where the record does not say which); before, after: values of
    a setting, `stage/key` of an input.
    """

    kind: str
    name: str
    before: Any = None
    after: Any = None


def read_record(path: str | Path) -> dict | None:
    """The content of a `settings.json`; None where it is not there or is no record."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = ("stage", "key", "code", "settings", "inputs", "contents")
    return content if isinstance(content, dict) and all(k in content for k in needed) else None


def records_of(stage: str) -> list[dict]:
    """The records of all finished results of a kind of stage, the newest first."""
    found = []
    for path in Path(folder_of(stage)).glob(f"*/{SETTINGS_FILE}"):
        record = read_record(path)
        if record is not None:
            # seconds are written down; within one the file's own time tells
            written = path.stat().st_mtime_ns
            found.append(((str(record.get("finished")), written, record["key"]), record))
    return [record for _, record in sorted(found, key=lambda pair: pair[0], reverse=True)]


def flat(settings: Mapping, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; lists are values."""
    result = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def _inputs(inputs: Mapping) -> dict[str, list[str]]:
    """Role -> `stage/key/file` of what is read."""
    return {
        role: [
            f"{place['stage']}/{place['key']}/{Path(place['path']).name}"
            for place in (value if isinstance(value, list) else [value])
        ]
        for role, value in inputs.items()
    }


def _changed(kind: str, before: Mapping, after: Mapping) -> list[Difference]:
    return [
        Difference(kind, name, before.get(name), after.get(name))
        for name in dict.fromkeys([*after, *before])
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    ]


def changed_settings(before: Mapping, after: Mapping) -> list[Difference]:
    """The settings in which two configurations, or parts of them, differ."""
    return _changed("setting", flat(before), flat(after))


def _plain(stage: Stage) -> dict:
    """The stage as a record would have it."""
    return json.loads(json.dumps({**stage.description(), "config": None}))


def differences(stage: Stage, record: Mapping) -> list[Difference]:
    """In what the stage differs from a result; nothing where only the key does."""
    return _differences(_plain(stage), record)


def _differences(now: Mapping, record: Mapping) -> list[Difference]:
    found = changed_settings(record["settings"], now["settings"])
    found += _changed("data", record["contents"], now["contents"])
    if record["code"] != now["code"]:
        files = record.get("code_files")
        which = _changed("code", files, now["code_files"]) if files and now["code_files"] else []
        found += which or [Difference("code", "")]
    return found + _changed("input", _inputs(record["inputs"]), _inputs(now["inputs"]))


def users_of(record: Mapping) -> set[tuple]:
    """Experiments, seeds and rounds that a result was made for."""
    return {tuple(user) for user in record.get("users") or []}


def nearest(
    stage: Stage, records: Sequence[Mapping]
) -> tuple[Mapping, list[Difference]] | tuple[None, None]:
    """The result that the stage is best compared with, and in what it differs: among those of the
    same experiment, seed and round, if there are any, that with the fewest differences. Records
    come the newest first. (None, None) where there is no result."""
    now = _plain(stage)
    users = set(stage.users)
    own = [record for record in records if users & users_of(record)]
    compared = [(record, _differences(now, record)) for record in own or records]

    def distance(pair: tuple[Mapping, list[Difference]]) -> tuple:
        record, found = pair
        kinds = [d.kind for d in found]
        return (
            sum(d.kind == "setting" and d.name in WHOSE for d in found),
            len(kinds) - kinds.count("code") + ("code" in kinds),
            record.get("title") != stage.title,
        )

    return min(compared, key=distance, default=(None, None))


def what_is_new(stage: Stage, records: Iterable[Mapping]) -> str | None:
    """In words, what there was no result of before: the round, the seed or the experiment. None
    where there was one, or where no record says whose it is."""
    known = set().union(*map(users_of, records))
    if not known or not stage.users or known & set(stage.users):
        return None
    experiment, seed, number = next(iter(stage.users))
    if experiment not in {user[0] for user in known}:
        return f"first result of experiment {experiment}"
    if (experiment, seed) not in {user[:2] for user in known}:
        return f"first result of seed {seed}"
    return None if number is None else f"first result of round {number}"


def reasons(found: Iterable[Difference]) -> list[tuple[str, str]]:
    """The differences in words: (kind, text), one line of code and of data, one for each setting.

    Inputs are left to the caller, who knows which of them are made anew.
    """
    found = list(found)
    lines = [
        ("setting", f"{d.name}: {' -> '.join(_values(d.before, d.after))}")
        for d in found
        if d.kind == "setting"
    ]
    data = [d.name for d in found if d.kind == "data"]
    if data:
        lines.append(("data", f"other files: {', '.join(data)}"))
    code = [d.name for d in found if d.kind == "code"]
    if code:
        named = [name for name in code if name][:_FILES_NAMED]
        more = len(code) - len(named)
        text = ", ".join(named) + (f" and {more} more" if named and more else "")
        lines.append(("code", text or "changed; the earlier result does not say which files"))
    return lines


def _values(before: Any, after: Any) -> list[str]:
    """Both values, readable; of long lists that differ in length how long they are."""
    pair = [before, after]
    if all(isinstance(v, list) for v in pair) and len(before) != len(after):
        return [shown(v) if len(repr(v)) < 40 else f"{len(v)} entries" for v in pair]
    return [shown(v) for v in pair]
