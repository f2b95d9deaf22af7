"""What operations leave, in a bucket; see `operations.kept_file`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hexhub_backup.depot.s3_cache import Cache
from hexhub_backup.depot.s3_objects import Objects
from hexhub_backup.depot.s3_parts import Parts, part_size

_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class S3Kept:
    """One object, or those of a folder: the last of them says that it is there."""

    objects: Objects
    cache: Cache
    keys: tuple[str, ...]
    #: Where they are on this machine.
    path: Path

    def here(self) -> Path:
        self.cache.bring(*self.keys)
        return self.path

    def exists(self) -> bool:
        return self.objects.head(self.keys[-1]) is not None

    def keep(self) -> None:
        for key in self.keys:
            path = self.cache.file(key)
            parts = Parts(self.objects, key, part_size(path.stat().st_size))
            try:
                with path.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        parts.write(chunk)
                parts.complete(new=False)
            finally:
                parts.close()

    def remove(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        for key in reversed(self.keys):
            self.cache.drop(key)
            self.objects.delete(key)
