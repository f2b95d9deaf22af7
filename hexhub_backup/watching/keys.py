"""The keys that copies are encrypted to, and the proof that somebody can open them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from hexhub_backup.destinations.base import Destination, read_up_to
from hexhub_backup.destinations.encryption import HEAD, Identities, Recipients, recipients_of
from hexhub_backup.errors import ArchiveError, BackupError, NotFoundError, WrongKeyError
from hexhub_backup.history.kept import History
from hexhub_backup.history.keys import ProvedKey, ProvedKeys
from hexhub_backup.history.models import Copy, Who
from hexhub_backup.marking import marked
from hexhub_backup.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Key:
    """A public key, the `places` whose copies are encrypted to it, and who has proved that its
    private half opens them: None where nobody has."""

    fingerprint: str
    places: tuple[str, ...]
    proved: ProvedKey | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found of one place: its `recipients`, and which of them were `proved`. `backup` is
    that of the newest copy there, None without one; `opened` whether its beginning was opened, None
    where that was not tried; else `reason` says why it was not."""

    place: str
    recipients: tuple[str, ...]
    proved: tuple[str, ...]
    backup: str | None
    opened: bool | None
    reason: str | None


@dataclass(frozen=True)
class Keys:
    """The keys of an app: those of its setting, or of each of its destinations."""

    history: History
    settings: Settings
    destinations: Mapping[str, Destination]

    def all(self) -> list[Key]:
        """Each key once. Raises DatabaseError."""
        places: dict[str, list[str]] = {}
        for place, recipients in self._recipients().items():
            for name in recipients.fingerprints:
                places.setdefault(name, []).append(place)
        proved = self._proved.all() if places else {}
        return [
            Key(fingerprint=name, places=tuple(found), proved=proved.get(name))
            for name, found in places.items()
        ]

    def check(self, identities: Identities, who: Who, now: datetime) -> list[Proof]:
        """Find out what private keys open, and remember the keys that are proved by it. Raises
        NotFoundError where no copy is encrypted, WrongKeyError where they open nothing,
        DatabaseError."""
        recipients = self._recipients()
        if not recipients:
            raise NotFoundError(
                "Copies are not encrypted here: set HEXHUB_BACKUP_AGE_RECIPIENTS, or give a "
                "destination recipients=."
            )
        proved = {place: each.opened_by(identities) for place, each in recipients.items()}
        names = dict.fromkeys(name for each in proved.values() for name in each)
        if not names:
            known = dict.fromkeys(n for each in recipients.values() for n in each.fingerprints)
            raise WrongKeyError(
                "No key of those that were given opens what is encrypted here. That is encrypted "
                f"to {', '.join(known)}: hand in the private key of one of these."
            )
        for name in names:
            self._proved.put(ProvedKey(fingerprint=name, proved_at=now, proved_by=who.actor))
        latest = self.history.latest_copies()
        found = []
        for place, each in recipients.items():
            copy = latest[place][1] if place in latest else None
            opened, reason = (None, None) if copy is None else self._try(copy, identities, names)
            found.append(
                Proof(
                    place=place,
                    recipients=each.fingerprints,
                    proved=tuple(proved[place]),
                    backup=None if copy is None else copy.backup_id,
                    opened=opened,
                    reason=reason,
                )
            )
        return found

    def _try(
        self, copy: Copy, identities: Identities, proved: Collection[str]
    ) -> tuple[bool | None, str | None]:
        """Open the beginning of a copy, where it is encrypted to a key that was proved."""
        if not copy.encrypted:
            return None, marked("it is not encrypted")
        if copy.recipients and not {*copy.recipients} & {*proved}:
            return None, marked(f"it is encrypted to other keys ({', '.join(copy.recipients)})")
        try:
            with self.destinations[copy.place].open(str(copy.file), 0, HEAD) as file:
                opened = identities.opens(read_up_to(file, HEAD))
        except ArchiveError as error:
            return False, str(error)
        except (BackupError, OSError) as error:
            return None, str(error)
        return opened, None if opened else marked("no key of those that were given opens it")

    @property
    def _proved(self) -> ProvedKeys:
        return ProvedKeys(self.history.catalog.engine)

    def _recipients(self) -> dict[str, Recipients]:
        """Those of each destination whose copies are encrypted."""
        found = {
            place: recipients_of(each, self.settings.age_recipients)
            for place, each in self.destinations.items()
        }
        return {place: each for place, each in found.items() if each}


def places_not_proved(keys: Collection[Key]) -> list[str]:
    """The places of which no key was proved."""
    proved = {place for key in keys if key.proved for place in key.places}
    return sorted({place for key in keys for place in key.places} - proved)
