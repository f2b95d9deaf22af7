"""What an archive as a whole is checked by: asked of whoever looked at its members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from hexhub_backup.archive.records import Kind


class Facts(Protocol):
    """What somebody found in an archive by looking at it; names are of members."""

    def present(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the names that are there."""

    def files_and_folders(self) -> Iterator[tuple[str, str]]:
        """Files that are a folder, too, each with a name below it, or of the folder itself."""

    def count(self, name: str) -> int:
        """How many there are of one of `COUNTS`."""

    def sha256(self, name: str) -> str | None:
        """Of one of `VOUCHED`, in hex; None where it is not there."""

    def unknown(self) -> Iterator[str]:
        """Members and directories that the format does not know."""

    def only_there(self) -> Iterator[str]:
        """Members, but for SHA256SUMS and the manifest, that SHA256SUMS does not name."""

    def only_in_sums(self) -> Iterator[str]:
        """What else SHA256SUMS names."""

    def damaged(self) -> Iterator[str]:
        """Members that are not what SHA256SUMS says; of files this may be found out later."""

    def duplicates(self) -> Iterator[tuple[Kind, str, int]]:
        """Keys that several records of a kind have: how the record is called, and how many."""
