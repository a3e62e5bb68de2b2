"""Write, verify and read a million samples: the peak memory of each process, compared with its limit of 500 MiB.

``python benchmarks/records.py`` uses a temporary folder; ``--storage s3://bucket/prefix --endpoint URL``
any S3 server. Exits with 1 where a process needed more than the bound.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BOUND_MIB = 500
PHASES = ("write", "verify", "read")
RESPONSE_TOKENS = 120
PROMPT_TOKENS = 90


def main() -> int:
    """Run each phase in its own process and print its time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--blocks", type=int, default=1, help="parts; one holds all rows by default, the hardest case")
    parser.add_argument("--storage", help="where (default: a temporary folder, removed afterwards)")
    parser.add_argument("--endpoint")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="misstep-records-") as folder:
        args.storage = args.storage or f"file://{folder}/store"
        if args.phase:
            print(json.dumps(_phase(args, Path(folder))))
            return 0
        worst = 0.0
        for phase in PHASES:
            options = ["--rows", str(args.rows), "--blocks", str(args.blocks), "--storage", args.storage]
            options += ["--endpoint", args.endpoint] if args.endpoint else []
            done = subprocess.run(
                [sys.executable, __file__, *options, "--phase", phase], stdout=subprocess.PIPE, check=True
            )
            found = json.loads(done.stdout)
            worst = max(worst, found["peak_mib"])
            print(
                f"{phase:7}{args.rows:>10} rows {found['seconds']:7.1f} s {found['bytes'] / 2**20:8.0f} MiB stored "
                f"{found['peak_mib']:6.0f} MiB peak ({found['peak_mib'] / BOUND_MIB:.2f} of {BOUND_MIB})"
            )
    return int(worst > BOUND_MIB)


def _phase(args: argparse.Namespace, scratch: Path) -> dict[str, float]:
    from misstep.artifacts.manifest import Manifest, Receipt, assemble, put_receipt, read_manifest
    from misstep.artifacts.output import Output
    from misstep.artifacts.reader import Reader
    from misstep.artifacts.repair import find_damage
    from misstep.artifacts.writer import write_block
    from misstep.plan.frozen import FrozenStage, stage_key
    from misstep.plan.kinds import StageKind
    from misstep.store.description import Storage
    from misstep.store.open import open_store

    started = time.monotonic()
    key = stage_key(StageKind.SAMPLE, {}, {}, {})
    storage = Storage(uri=args.storage, endpoint=args.endpoint, path_style=args.endpoint is not None)
    store = open_store(storage)
    if args.phase == "write":
        stage = FrozenStage(kind=StageKind.SAMPLE, name="benchmark", key=key, params={}, storage=storage)
        receipts = []
        for block in range(args.blocks):
            output = Output(tables={"samples": _batches(block, args.rows // args.blocks)})
            parts = write_block(store, key, StageKind.SAMPLE, block, args.blocks, output, scratch)
            receipts.append(Receipt(block=block, blocks=args.blocks, parts=parts, seconds=0))
            put_receipt(store, key, receipts[-1])
        store.put(f"{key}/manifest.json", assemble(stage, receipts).encode())
    elif args.phase == "verify":
        damage = find_damage(store, key)
        if damage:
            raise SystemExit(f"damaged: {damage}")
    else:
        reader = Reader(store, scratch / "inputs")
        rows = sum(batch.num_rows for batch in reader.batches(key, "samples"))
        if rows != args.rows // args.blocks * args.blocks:
            raise SystemExit(f"{rows} rows came back")
    manifest: Manifest | None = read_manifest(store, key)
    return {
        "seconds": time.monotonic() - started,
        "bytes": manifest.size() if manifest else 0,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _batches(block: int, rows: int) -> Iterator[object]:
    """Yield rows of the size of GSM8K solutions, with ids and letters that compress badly."""
    import numpy as np
    import pyarrow as pa

    from misstep.artifacts.records import SAMPLES

    random = np.random.default_rng(block)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz 0123456789\n=+", dtype=np.uint8)
    for start in range(0, rows, 256):
        count = min(256, rows - start)
        numbers = range(block * rows + start, block * rows + start + count)
        prompts = np.tile(random.integers(0, 32_000, PROMPT_TOKENS, dtype=np.int32), count)
        tokens = random.integers(0, 32_000, count * RESPONSE_TOKENS, dtype=np.int32)
        text = letters[random.integers(0, len(letters), (count, 4 * RESPONSE_TOKENS))]
        columns = [
            pa.array([f"gsm8k-{number // 64:08d}" for number in numbers]),
            pa.array([number % 64 for number in numbers], pa.int32()),
            _lists(prompts, PROMPT_TOKENS),
            _lists(tokens, RESPONSE_TOKENS),
            pa.array([row.tobytes().decode() for row in text]),
            pa.array(["stop"] * count),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SAMPLES)


def _lists(values: object, length: int) -> object:
    import numpy as np
    import pyarrow as pa

    offsets = np.arange(0, len(values) + 1, length, dtype=np.int32)  # type: ignore[arg-type]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


if __name__ == "__main__":
    sys.exit(main())
