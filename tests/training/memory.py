"""An SFT run that may use only this many MiB more memory than at its start.

python -m tests.training.memory FOLDER MIB
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil

from misstep.artifacts.checkpoints import StoredCheckpoints
from misstep.errors import MisstepError
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep.training.export import InitialModel
from misstep.training.run import train
from tests.training import small


def main() -> None:
    folder, spare = Path(sys.argv[1]), int(sys.argv[2])
    run = small.sft_run(small.sft_examples(64), small.optimiser(epochs=1, batch_size=64, micro_batch_size=64))
    context = small.context(folder, run)
    store = open_store(Storage(uri=(folder / "store").as_uri()))
    context.checkpoints = StoredCheckpoints(store, "sft-0", context.scratch)  # type: ignore[assignment]
    start = InitialModel.load(folder / "model")
    in_use = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (spare << 20), resource.RLIM_INFINITY))
    try:
        output = train(context, start, run)
    except MisstepError as error:
        print(error)
        sys.exit(error.exit_code)
    print(small.losses(output))


if __name__ == "__main__":
    main()
