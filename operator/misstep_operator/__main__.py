"""``misstep-operator run``: watch Experiments and run their stages."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from misstep.errors import MisstepError


def main(argv: list[str] | None = None) -> int:
    """Run the operator until it is stopped, and return the exit code: 64 where its settings are wrong."""
    parser = argparse.ArgumentParser("misstep-operator", description=__doc__)
    parser.add_argument("command", choices=["run"], help="run until SIGTERM; settings are MISSTEP_* variables")
    parser.parse_args(argv)
    from misstep.plan.extras import need
    from misstep.stages.logs import configure_logs
    from misstep_operator.malloc import limit_arenas
    from misstep_operator.settings import read_settings

    configure_logs()
    logging.getLogger("misstep_operator").setLevel(logging.INFO)
    limit_arenas()
    try:
        need("the operator", "operator")
        settings = read_settings()
    except MisstepError as error:
        print(f"misstep-operator: {error}", file=sys.stderr)  # noqa: T201 - the log is not set up yet
        return error.exit_code
    from misstep_operator.serve import serve

    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
