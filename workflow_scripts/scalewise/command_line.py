"""What the commands beside the workflow share: settings, given as snakemake takes them; errors."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from scalewise.config import ConfigError
from scalewise.errors import UserError, of_the_system
from scalewise.plan import Plan
from scalewise.workflow import load_plan

if TYPE_CHECKING:
    from scalewise.models.store import LoadedModel


def parser_of(manual: str | None) -> argparse.ArgumentParser:
    """A parser whose `--help` is the program's docstring."""
    return argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run_program(main: Callable[[], object]) -> None:
    """Run a command's `main`. A reader that has seen enough, as `head` has, ends it quietly."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()


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


@contextmanager
def errors_as_text(when_stopped: str = "stopped") -> Iterator[None]:
    """End the program with one message where the user or the system made the block fail; with
    status 130 and `when_stopped` at Ctrl-C."""
    try:
        yield
    except UserError as error:
        sys.exit(f"\n{error}\n")
    except OSError as error:
        known = of_the_system(error)
        if known is None:
            raise
        sys.exit(f"\n{known}\n")
    except KeyboardInterrupt:
        print(when_stopped, file=sys.stderr)
        sys.exit(130)


def load_model(path: Path) -> "LoadedModel":
    """Read a model.safetensors. Raises UserError naming it."""
    from scalewise.models import store  # most commands do without torch

    if not path.is_file():
        raise UserError(f"{path}: no such file: name the model.safetensors of a result")
    try:
        return store.load(path)
    except ValueError as error:
        raise UserError(" ".join(str(error).split())[:300]) from None
