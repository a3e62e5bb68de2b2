"""Run the study's Experiments, one after another, into one store.

    python study/run.py                                  all of them: some hours of two cores
    python study/run.py --only pairs-200 rounds          these
    python study/run.py --parallel 1                     as `misstep run --parallel`

Stages that have a result are not run again, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from study.design import designs
from study.finished import EXPERIMENTS, STORE


def main() -> int:
    """Run; return the first exit code that is not 0."""
    names = [design.name for design in designs()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="Experiments to run")
    parser.add_argument("--store", default=STORE, help="URI of the store (default: %(default)s)")
    parser.add_argument("--parallel", type=int, help="stages at once")
    options = parser.parse_args()
    more = [] if options.parallel is None else ["--parallel", str(options.parallel)]
    for number, name in enumerate(options.only, 1):
        print(f"{name} ({number} of {len(options.only)})", flush=True)
        command = [sys.executable, "-m", "misstep", "run", str(EXPERIMENTS / f"{name}.yaml"), "--quiet"]
        done = subprocess.run([*command, "--storage", options.store, *more], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
