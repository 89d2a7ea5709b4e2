"""Say in one line what is wrong with a key, and what would be right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from scalewise.config.fields import ConfigError, nearest, shown


def _keys_beside(model: type[BaseModel], location: Sequence) -> list[str]:
    """The valid keys of the section in which `location` (a pydantic error's) ends."""
    fields = model.model_fields
    for part in location[:-1]:
        annotation = fields[part].annotation if part in fields else None
        for candidate in _models_in(annotation, location):
            fields = candidate.model_fields
            break
    return list(fields)


def _models_in(annotation: Any, location: Sequence) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [m for a in getattr(annotation, "__args__", ()) for m in _models_in(a, location)]
    return [m for m in found if _tags(m) & set(location)] or found


def _tags(model: type[BaseModel]) -> set[str]:
    """What the key that tells this model from its alternatives may be."""
    fields = (model.model_fields[name] for name in TELLING if name in model.model_fields)
    return {tag for field in fields for tag in getattr(field.annotation, "__args__", ())}


_FORMATS = ("streets", "gta5", "synthia", "cityscapes", "camvid", "folder")
_NETWORKS = ("compact", "fcn8s_vgg16", "deeplabv2_resnet101", "segformer")
TELLING = ("format", "name")  # keys that say which other keys a section has
# maps that a later layer replaces as a whole
WHOLE = frozenset({"id_to_class", "map", "style", "subsets"})
_SETS = ("source", "target", "validation")


def _own(location: Sequence) -> list:
    """A location of pydantic's without the tags of unions: the user's own keys and positions."""
    return [
        part
        for i, part in enumerate(location)
        if not (part in _FORMATS and i and location[i - 1] in _SETS)
        and not (part in _NETWORKS and i and location[i - 1] == "network")
        and not (isinstance(part, str) and part[:1] in ("<", "["))
    ]


def _key(location: Sequence) -> str:
    """Dotted keys; a position in a list counts from 1, as in `rounds.portions (entry 2)`."""
    text = ""
    for i, part in enumerate(location):
        if isinstance(part, int) and i and location[i - 1] not in WHOLE:
            text += f" (entry {part + 1})"
        else:
            text += f".{part}" if text else str(part)
    return text or "the configuration"


def _places(key: str, model: type[BaseModel], prefix: str = "") -> list[str]:
    """Where in the sections below `model` a key of this name stands, dotted."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            if key in field.annotation.model_fields:
                found.append(f"{prefix}{name}.{key}")
            found += _places(key, field.annotation, f"{prefix}{name}.")
    return found


def unknown(key: object, valid: Sequence[str], model: type[BaseModel] | None = None) -> str:
    near, elsewhere = nearest(key, valid), _places(str(key), model) if model else []
    if near:
        hint = f"did you mean '{near}'?"
    elif elsewhere:
        hint = f"did you mean {' or '.join(elsewhere[:3])}?"
    else:
        hint = f"valid keys: {', '.join(valid)}"
    return f"unknown key; {hint}"


_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
# beginning of pydantic's kind of error -> what the value must be
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text (in quotes where it looks like something else)",
    "list": "a list, in [brackets] or with a dash before each entry",
    "tuple": "a list, in [brackets] or with a dash before each entry",
    "dict": "a section of keys",
    "model": "a section of keys",
}


def _describe(error: Mapping, model: type[BaseModel]) -> str:
    """One line for one error of pydantic."""
    location, kind, value = list(error["loc"]), error["type"], error.get("input")
    context = error.get("ctx", {})
    own = _own(location)
    key = _key(own)
    if kind in ("extra_forbidden", "invalid_key"):
        whole = model if len(own) == 1 else None
        return f"{key}: {unknown(own[-1], _keys_beside(model, location), whole)}"
    if kind == "missing":
        return f"{key}: this key is missing"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = context["discriminator"].strip("'")
        found = value.get(tag)
        valid = _NETWORKS if tag == "name" else _FORMATS
        near = nearest(found, valid)
        hint = f"; did you mean '{near}'?" if near else ""
        return f"{key}.{tag}: must be one of {', '.join(valid)}, not {shown(found)}{hint}"
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = nearest(value, expected) if isinstance(value, str) else None
        valid = ", ".join(filter(None, expected))
        hint = f"; did you mean '{near}'?" if near else ""
        if own[-2:] == ["data", "classes"]:
            valid += ", or a list of {name, color}"
        choice = "one of " if "," in valid else ""
        return f"{key}: must be {choice}{valid}, not {shown(value)}{hint}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"{key}: must be {words} {context[name]:g}, not {shown(value)}"
    if kind == "too_short":
        return f"{key}: must have at least {context['min_length']} entry"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted == "a section of keys" and value is None:
        return f"{key}: this section is empty: give its keys, or leave it out"
    if wanted:
        return f"{key}: must be {wanted}, not {shown(value)}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, not {shown(value)}"


def _place(error: Mapping) -> list:
    """The key that is wrong; of one that is missing, its section."""
    own = _own(error["loc"])
    return own[:-1] if error["type"] == "missing" else own


Layers = Sequence[tuple[str, Mapping]]


def layer_of(layers: Layers, location: Sequence) -> str:
    """Name of the last layer that says something about the key, or about the section around it.

    A list is its last layer's whole, so positions in lists say nothing.
    """
    positions = [i for i, part in enumerate(location) if isinstance(part, int)]
    for length in range(min(positions, default=len(location)), 0, -1):
        for name, content in reversed(layers):
            node: Any = content
            for part in location[:length]:
                if not isinstance(node, Mapping) or part not in node:
                    break
                node = node[part]
            else:
                return name
    return layers[-1][0]


def check(model: type[BaseModel], content: Mapping, where: Callable[[Sequence], str]) -> Any:
    """Raises ConfigError with one line per mistake; `where` says which file it stands in."""
    try:
        return model.model_validate(content)
    except ValidationError as failed:
        lines = list(
            dict.fromkeys(
                f"{where(_place(error))}: {_describe(error, model)}" for error in failed.errors()
            )
        )
        more = [f"and {len(lines) - 5} more"] if len(lines) > 5 else []
        raise ConfigError("\n".join(lines[:5] + more)) from None
