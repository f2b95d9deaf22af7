"""What must not be overlooked in a plan, in words for people: the most serious first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hexhub_backup.errors import NOTE_CODES, WARNING_CODES
from hexhub_backup.operations.plan import Note, Plan

#: How a block looks: `bad` can do harm, `warn` needs a look, `info` is good to know.
Weight = Literal["bad", "warn", "info"]
#: A block lists so many.
_LISTED = 10


@dataclass(frozen=True)
class Words:
    """The title of one note and of many (`{}` is their number), and what it means."""

    weight: Weight
    one: str
    many: str
    text: str


_WORDS = {
    "no_right_left": Words(
        "bad",
        "Nobody would have a right that administrators need",
        "Nobody would have {} rights that administrators need",
        "Check that somebody can still manage the registry afterwards.",
    ),
    "privileged_credentials_changed": Words(
        "bad",
        "The log-in of 1 administrator changes",
        "The log-ins of {} administrators change",
        "You let administrator rights in. Who knows a password of the archive, perhaps an old one, "
        "can log in as that account.",
    ),
    "package_file_differs": Words(
        "bad",
        "1 package file is not the one that is served now",
        "{} package files are not the ones that are served now",
        "Where one is replaced, its checksum changes: whoever has locked the old one can't fetch "
        "that release any more.",
    ),
    "right_changed": Words(
        "bad",
        "The rights of 1 account change",
        "The rights of {} accounts change",
        "You let protected columns in. Make sure that these people shall have what the archive "
        "gives them.",
    ),
    "credentials_changed": Words(
        "warn",
        "The log-in of 1 account changes",
        "The log-ins of {} accounts change",
        "Passwords of the archive work again, and those of now do not.",
    ),
    "blocked": Words(
        "warn",
        "1 record can't be written",
        "{} records can't be written",
        "Left out, whatever you choose for records that differ.",
    ),
    "not_checked": Words(
        "warn",
        "Part of the archive could not be checked",
        "Part of the archive could not be checked",
        "It has no checksums for it. Restore it only if you trust where it comes from.",
    ),
    "missing_package_file": Words(
        "warn",
        "1 release has no package file in the archive",
        "{} releases have no package file in the archive",
        "Nobody can fetch such a release, unless its file is here already.",
    ),
    "missing_docs_file": Words(
        "warn",
        "1 release has no docs file in the archive",
        "{} releases have no docs file in the archive",
        "The archive says that there are docs.",
    ),
    "file_without_release": Words(
        "warn",
        "1 file belongs to no release",
        "{} files belong to no release",
        "Left out.",
    ),
    "unknown_password_scheme": Words(
        "warn",
        "1 account has a password of an unknown scheme",
        "{} accounts have passwords of an unknown scheme",
        "Each is restored as it is. Try whether one can log in with it.",
    ),
    "totp_not_restored": Words(
        "warn",
        "1 account will have its second factor off",
        "{} accounts will have their second factor off",
        "No archive holds TOTP secrets: it has to be set up again.",
    ),
    "privileged_account": Words(
        "warn",
        "1 account with administrator rights stays as it is",
        "{} accounts with administrator rights stay as they are",
        "Each differs in the archive, whose password would let somebody in as an administrator. To "
        "replace them, let administrator rights in below.",
    ),
    "own_account": Words(
        "info",
        "The account that restores differs",
        "The account that restores differs",
        "It stays as it is.",
    ),
    "docs_file_differs": Words(
        "info",
        "1 docs file is not the one that is served now",
        "{} docs files are not the ones that are served now",
        "Each line says what becomes of it.",
    ),
    "duplicate_record": Words(
        "info",
        "1 record is in the archive more than once",
        "{} records are in the archive more than once",
        "The newest of each is taken.",
    ),
    "field_without_column": Words(
        "info",
        "1 field of the archive has no column here",
        "{} fields of the archive have no column here",
        "What was in it is left out.",
    ),
    "right_not_granted": Words(
        "info",
        "1 account has other rights in the archive",
        "{} accounts have other rights in the archive",
        "Left out: nobody gains or loses rights. You can choose otherwise below.",
    ),
}
#: What these say where no file is replaced.
_FILES = ("package_file_differs", "docs_file_differs")
_STAYS = "They stay as they are, and the archive's are not taken."


@dataclass(frozen=True)
class Block:
    """All notes of a code: `weight`, `title` and `text` in words, how many there are, and the
    first of them."""

    code: str
    weight: Weight
    title: str
    text: str
    count: int
    first: list[Note]

    @property
    def more(self) -> int:
        return self.count - len(self.first)


def blocks(plan: Plan) -> Iterator[Block]:
    """A block for each code of which there are notes."""
    counts = plan.note_counts()
    harmless = not plan.file_counts()["replace"]
    for code in sorted(counts, key=_rank):
        found = words(code)
        yield Block(
            code=code,
            weight="info" if code in _FILES and harmless else found.weight,
            title=title(code, counts[code]),
            text=_STAYS if code in _FILES and harmless else found.text,
            count=counts[code],
            first=list(plan.notes(code, limit=_LISTED)),
        )


def title(code: str, count: int) -> str:
    found = words(code)
    return found.one if count == 1 else found.many.format(f"{count:,}")


def words(code: str) -> Words:
    """Of a code that is not known here yet, what it is said to be."""
    if code in _WORDS:
        return _WORDS[code]
    says = {**WARNING_CODES, **NOTE_CODES}.get(code, code)
    says = f"{says[:1].upper()}{says[1:]}"
    return Words("warn", says, f"{{}} × {says}", "")


def _rank(code: str) -> int:
    known = list(_WORDS)
    return known.index(code) if code in known else len(known)
