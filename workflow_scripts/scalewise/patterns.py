"""Patterns of file names: an image's id, and which label belongs to an image."""

import fnmatch
import re

ID = "{id}"
_WILD = "*?["
# stars, question marks, and sets of letters such as [0-9] or [!a]
_WILDCARD = re.compile(r"\*\*|\*|\?|\[!?\]?[^]/]*\]")


def _tokens(pattern: str) -> list[tuple[str, bool]]:
    """The pattern in pieces, each with whether it is a wildcard.

    `**/` is one wildcard, and so is `**` as the last part of a path; beside other letters two stars
    say no more than one.
    """
    tokens, position = [], 0
    for found in _WILDCARD.finditer(pattern):
        start, end = found.span()
        text = found[0]
        if text == "**":
            follows = pattern[end : end + 1]
            alone = follows in ("", "/") and (not start or pattern[start - 1] == "/")
            text = "**" + follows if alone else "*"
            end += len(follows) if alone else 0
        tokens += [(pattern[position:start], False), (text, True)]
        position = end
    return [*tokens, (pattern[position:], False)]


def wildcards(pattern: str) -> list[str]:
    """The wildcards of a glob, in order: `wildcards("**/*_a.png")` is `["**/", "*"]`."""
    return [text for text, wild in _tokens(pattern) if wild]


_EXPRESSIONS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(wildcard: str) -> str:
    if wildcard in _EXPRESSIONS:
        return _EXPRESSIONS[wildcard]
    return fnmatch.translate(wildcard).removeprefix("(?s:").rpartition(")")[0]


def _matched(path: str, pattern: str) -> list[str]:
    """What each wildcard stands for; where there is a choice the first takes as much as it can."""
    expression = "".join(
        f"({_expression(text)})" if wild else re.escape(text) for text, wild in _tokens(pattern)
    )
    found = re.fullmatch(expression, path, re.DOTALL)
    if found is None:
        raise ValueError(f"{path} does not match {pattern}")
    return list(found.groups())


def image_id(path: str, pattern: str) -> str:
    """What the wildcards of the pattern stand for, from the first to the last of them.

    `image_id("leftImg8bit/val/ulm/a_1_leftImg8bit.png", "leftImg8bit/val/**/*_leftImg8bit.png")`
    is `"ulm/a_1"`. Two paths have two ids: all that may differ between them is in it.
    """
    first = min(i for i, letter in enumerate(pattern) if letter in _WILD)
    last = max(i for i, letter in enumerate(pattern) if letter in "*?]")
    prefix = pattern[: pattern.rfind("/", 0, first) + 1]
    # a name such as frame_*.png: its constant start is left out as well
    start = pattern[len(prefix) : first] if "/" not in pattern[first:] else ""
    suffix = pattern[last + 1 :]
    return path[len(prefix) + len(start) : len(path) - len(suffix)]


def label_path(image: str, images: str, labels: str) -> str:
    """Path of the label of the image at path `image`, which matches the pattern `images`.

    `labels` is a template with `{id}`, or a glob with the wildcards of `images`, each of which is
    filled with what it stands for in the image's path.
    """
    if ID in labels:
        return labels.replace(ID, image_id(image, images))
    filling = iter(_matched(image, images))
    return "".join(next(filling) if wild else text for text, wild in _tokens(labels))
