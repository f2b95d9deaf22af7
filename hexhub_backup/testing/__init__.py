"""The promises of `Storage`, `Registry` and `Destination` as tests, for those that a host writes.

Subclass `StorageConformance`, `RegistryConformance` and `DestinationConformance` in your own tests.
Needs pytest, which the rest of the package does not.
"""

import pytest

# A failed assertion shows its values, as in your own tests.
pytest.register_assert_rewrite(
    *(f"hexhub_backup.testing.{suite}" for suite in ("registries", "storages", "destinations"))
)

from hexhub_backup.testing.destinations import DestinationConformance  # noqa: E402
from hexhub_backup.testing.registries import RegistryConformance  # noqa: E402
from hexhub_backup.testing.storages import StorageConformance  # noqa: E402

__all__ = ["DestinationConformance", "RegistryConformance", "StorageConformance"]
