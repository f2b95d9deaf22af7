"""What operations and recovery rely on of a registry."""

from hexhub_backup.testing.registries.comparing import ComparingConformance
from hexhub_backup.testing.registries.deciding import DecidingConformance
from hexhub_backup.testing.registries.reading import ReadingConformance
from hexhub_backup.testing.registries.undoing import UndoingConformance


class RegistryConformance(
    ReadingConformance, ComparingConformance, DecidingConformance, UndoingConformance
):
    """Subclass it, and override `new_registry`, `store` and `delete`; `record` and `right` where
    your registry needs it."""
