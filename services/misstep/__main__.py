"""``python -m misstep`` and the ``misstep`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Pods and the runner start ``misstep stage`` hundreds of times, so it does not load the rest
    of the command line."""
    if sys.argv[1:2] == ["stage"]:
        from misstep.stages.main import main as stage

        sys.exit(stage(sys.argv[2:]))
    from misstep.cli.app import main as people

    sys.exit(people(sys.argv[1:]))


if __name__ == "__main__":
    main()
