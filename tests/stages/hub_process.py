"""Run a frozen stage whose work is that of tests.stages.work: python -m tests.stages.hub_process FROZEN"""

from __future__ import annotations

import sys

from misstep.stages.main import main
from tests.stages.work import REGISTRY

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], registry=REGISTRY))
