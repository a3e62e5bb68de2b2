from __future__ import annotations

from tests.store.conftest import local, moto_endpoint, storage, store, versitygw_endpoint

__all__ = ["local", "moto_endpoint", "storage", "store", "versitygw_endpoint"]
