"""Settings of all tests: the same hypothesis examples in every CI run, and no deadlines on machines that are busy."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.cluster.fixtures import audit_log, control_plane, node
from tests.cluster.sampling import (
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_collectionfinish,
    pytest_report_header,
)

__all__ = [
    "audit_log",
    "control_plane",
    "node",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_collectionfinish",
    "pytest_report_header",
]

settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("any"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "any")
