"""What operations and recovery rely on of a storage."""

from hexhub_backup.testing.storages.crashes import CrashConformance
from hexhub_backup.testing.storages.files import FilesConformance
from hexhub_backup.testing.storages.reading import ReadingConformance


class StorageConformance(ReadingConformance, FilesConformance, CrashConformance):
    """Subclass it, and override `storage`, `reopen`, `store` and `delete`."""
