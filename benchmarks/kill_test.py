"""kill_test: kill a run of the embedded default at drawn moments and compare its results.

    python benchmarks/kill_test.py --kills 10     the default: minutes, and 20 s a kill
    python benchmarks/kill_test.py --kills 10 --tiny     the tests' tiny configuration, minutes

Runs the workflow once as it is, and once killed N times (the workflow, a job, or all of both; with
SIGKILL, SIGTERM or SIGINT; at a drawn share of a drawn stage's time) and started again by the plain
call each time. Prints a table of the kills and whether every file of every result is the same;
exits with 1 where one is not.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "workflow_scripts")]

from killing import draw_moments, finish, kill_through, seconds_of  # noqa: E402
from workflow_runs import TINY, same_results  # noqa: E402

STATES = "resources: {save_minutes: 0.05}\n"  # every 3 s, so that short stages have states too


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=12, help="how many (default 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--tiny", action="store_true", help="the tests' tiny configuration")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error("--kills: at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        base = arguments.folder or Path(temporary)
        whole, killed = base / "whole", base / "killed"
        for folder in (whole, killed):
            folder.mkdir(parents=True, exist_ok=True)
        states = base / "states.yaml"
        states.write_text(STATES)
        config = [states]
        if arguments.tiny:
            config = [TINY, ROOT / "tests" / "configs" / "killed.yaml"]
        print("running it once as it is", flush=True)
        finish(whole, config)
        print(f"running it with {arguments.kills} kills", flush=True)
        moments = draw_moments(arguments.seed, arguments.kills)
        outcomes = kill_through(killed, moments, seconds_of(whole), config)
        print(f"\n{'stage':22}{'at':>5}  {'sent':9}{'to':10}{'lived on':10}then")
        for outcome in outcomes:
            moment = outcome.moment
            then = "; ".join(outcome.going_on) or "begun anew, or finished"
            if not outcome.met:
                then = "no job of this stage was left to kill"
            print(
                f"{moment.stage:22}{moment.share:>5.0%}  {moment.how.name:9}{moment.who:10}"
                f"{'a job' if outcome.orphan else '':10}{then}"
            )
        try:
            count = same_results(whole, killed)
        except AssertionError as error:
            sys.exit(f"\n{error}")
    print(f"\nall {count} files of all results are the same")


if __name__ == "__main__":
    main()
