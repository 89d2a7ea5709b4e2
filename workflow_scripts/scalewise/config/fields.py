"""Types of single settings, and what is said of a value that does not fit."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class ConfigError(Exception):
    """A user's mistake in the settings; the message names the key and what to do."""


class Section(BaseModel):
    # not a number and infinity are no settings
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def in_effect(self, *leave_out: str) -> dict[str, Any]:
        """Plain values of the settings that have a say beside the others: a key must not change
        with the power of a schedule that has none."""
        values = self.model_dump(mode="json", exclude={*leave_out, *self.idle()})
        for name in values:
            section = getattr(self, name)
            if isinstance(section, Section):
                values[name] = section.in_effect()
        return values

    def idle(self) -> set[str]:
        """Settings that have no say beside the others."""
        return set()


def nearest(word: object, valid: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(word), valid, n=1, cutoff=0.5)), None)


def shown(value: Any) -> str:
    """A value as it would stand in a settings file, cut to a readable length."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _folder_name(value: str) -> str:
    printable = value.isprintable() and value.strip() == value
    if (
        not value
        or not printable
        or value[0] in ".-"
        or set(value) & set('/\\"')
        or len(value) > 80
        or len(value.encode()) > 200
    ):
        raise ValueError(
            f"{shown(value)} becomes the name of a folder: 1 to 80 printable characters, no "
            "slash, backslash or double quote, not starting with a dot or a dash"
        )
    return value


def class_name(value: str) -> str:
    if not value or not value.isprintable() or value.strip() != value or ";" in value:
        raise ValueError(f"{shown(value)} is no class name: printable characters, no semicolon")
    return value


def number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {shown(value)}")
    return value


def _truth(value: Any) -> Any:
    # text: what --config makes of it
    words = ("true", "false", "yes", "no", "on", "off")
    if not isinstance(value, bool) and str(value).lower() not in words:
        raise ValueError(f"must be true or false, not {shown(value)}")
    return value


def nothing(value: Any) -> Any:
    """What `--config` makes of null."""
    return None if value in ("", "null", "~") else value


def values(count: int, what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != count:
            raise ValueError(f"must be {what}, not {shown(value)}")
        return value

    return BeforeValidator(check)


FolderName = Annotated[str, AfterValidator(_folder_name)]
OptionalText = Annotated[str | None, BeforeValidator(nothing)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(number)]
Number = Annotated[float, BeforeValidator(number)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(number)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1), BeforeValidator(number)]
Portion = Annotated[float, Field(gt=0, le=1), BeforeValidator(number)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(number)]
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(number)]
Side = Annotated[int, Field(ge=16), BeforeValidator(number)]
Size = Annotated[tuple[Side, Side], values(2, "two numbers, height and width, as in [96, 192]")]
ByteValue = Annotated[int, Field(ge=0, le=255), BeforeValidator(number)]
Color = Annotated[
    tuple[ByteValue, ByteValue, ByteValue],
    values(3, "red, green and blue in 0..255, as in [128, 64, 128]"),
]
