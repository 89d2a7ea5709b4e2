"""What the commands beside the workflow share: their settings, given as snakemake takes them."""

import argparse
import sys

import yaml

from scalewise.config import ConfigError
from scalewise.plan import Plan
from scalewise.workflow import load_plan


def parser_of(manual: str | None) -> argparse.ArgumentParser:
    """A parser whose `--help` is the program's docstring."""
    return argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Let the program take the settings as the workflow does."""
    parser.add_argument("--configfile", nargs="*", default=[], help="as for snakemake")
    parser.add_argument("--config", nargs="*", default=[], metavar="KEY=VALUE", help="likewise")


def overrides_of(items: list[str]) -> dict:
    """`--config` as a mapping. Raises ConfigError."""
    overrides = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--config {item}: expected key=value")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--config {item}: the value is not YAML") from None
    return overrides


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan of these settings. A mistake in them ends the program with its message."""
    try:
        return load_plan(arguments.configfile, overrides_of(arguments.config))
    except ConfigError as error:
        sys.exit(f"\n{error}\n")
