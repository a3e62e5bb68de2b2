"""Many idle Experiments: they cost no requests and little memory, and the next Job comes as fast as without them."""

from __future__ import annotations

import pytest
from benchmarks.operating import Waits, describe, idle

from tests.cluster.faults import ALL, Undisturbed, assert_nothing_left, assert_same, operator, small
from tests.cluster.operating import LEASE, Operating

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]
COUNT = 200 if ALL else 60
MOST_MIB = 150
SECONDS = 20.0


@pytest.mark.faults(seconds=110)
def test_idle_experiments_cost_nothing_and_delay_nothing(ground: Operating, undisturbed: Undisturbed) -> None:
    audit_log = ground.folder / "audit.log"
    document = small(ground, "among-idle")
    with operator(ground, MISSTEP_RESYNC_SECONDS="10", MISSTEP_LEASE=LEASE):
        _, alone = idle(ground, audit_log, 0, SECONDS)
        memory, among = idle(ground, audit_log, COUNT, SECONDS)
        print(f"{COUNT} idle: {memory:.0f} MiB; {among.total()} requests in {SECONDS:.0f} s, {alone.total()} without")
        assert among.total() <= alone.total() + 6  # watches may be reopened meanwhile
        assert memory < MOST_MIB
        waits = Waits(ground.kubeconfig, ground.namespace)
        ground.apply(document)
        ground.wait_for_state("among-idle", "Succeeded")
        found = sorted(waits.seconds())
        print(describe(found))
        assert found[len(found) // 2] <= 1.0
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "among-idle")
        ground.kubectl("delete", "experiments", "--all")
