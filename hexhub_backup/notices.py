"""The notices: what a plan and an operation tell an admin about a record, a file or an archive.

Each code is declared once, with all words for it. Plans list the notices of the code that is
declared first before those of the others, so the most serious comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from hexhub_backup.notice_code import NoticeCode
from hexhub_backup.serious_notices import SERIOUS


@dataclass(frozen=True)
class Notice:
    """One thing that an admin should know, though the operation went on.

    `code` is one of `NOTICES`, `record` a label such as `release jason 1.4.0`; it is None where
    the notice is about the whole archive or registry. Raises ValueError for an unknown code.
    """

    code: str
    message: str
    record: str | None = None

    def __post_init__(self) -> None:
        if self.code not in NOTICES:
            raise ValueError(f"no notice has the code {self.code}")

    def as_json(self) -> dict[str, str | None]:
        return {"code": self.code, "message": self.message, "record": self.record}


def notice(code: str, record: str | None, sentence: str, **values: str) -> Notice:
    """A notice about a record, with the sentence of that name. Raises KeyError where the code has
    no such sentence or the sentence needs another value."""
    return Notice(code, NOTICES[code].sentences[sentence].format(**values), record)


_CODES = (
    *SERIOUS,
    NoticeCode(
        "credentials_changed",
        "warn",
        "the password, e-mail, second factor or deactivation of an account comes from the archive",
        one="The log-in of {count} account changes",
        many="The log-ins of {count} accounts change",
        advice="The archive's passwords work again, and the current ones stop working.",
        is_warning=False,
        sentences={"changed": "from the archive: {fields}"},
    ),
    NoticeCode(
        "blocked",
        "warn",
        "a record was left out, because it can't be written",
        one="{count} record can't be written",
        many="{count} records can't be written",
        advice="Left out, whatever you choose for records that differ.",
    ),
    NoticeCode(
        "not_checked",
        "warn",
        "part of the archive could not be checked, because it has no checksums",
        one="Part of the archive could not be checked",
        many="Parts of the archive could not be checked",
        advice="The archive has no checksums. Restore it only if you trust where it comes from.",
        sentences={
            "no_checksums": "HexHub's own archives have no checksums: damage would not be noticed",
        },
    ),
    NoticeCode(
        "missing_package_file",
        "warn",
        "a release has no package file",
        one="{count} release has no package file in the archive",
        many="{count} releases have no package file in the archive",
        advice="Nobody can fetch such a release, unless the registry has its file already.",
        sentences={
            "in_archive": "the archive has no package file of this release",
            "in_storage": "its package file is not in the storage",
        },
    ),
    NoticeCode(
        "release_check",
        "warn",
        "a package file is none that a client of the registry takes, or its check failed",
        one="{count} problem was found in package files",
        many="{count} problems were found in package files",
        advice="Clients may not be able to fetch or use these releases: look at each, and publish "
        "it again, or restore its file from an earlier backup.",
        sentences={
            "found": "{reason}",
            "raised": "its package file could not be checked: check_release= raised {type}",
        },
    ),
    NoticeCode(
        "missing_docs_file",
        "warn",
        "a release says that it has docs, but there is no docs file",
        one="{count} release has no docs file in the archive",
        many="{count} releases have no docs file in the archive",
        advice="These releases say that they have docs.",
        sentences={
            "in_archive": "this release has docs, but no docs file in the archive",
            "in_storage": "it says it has docs, but there is no docs file in the storage",
        },
    ),
    NoticeCode(
        "file_without_release",
        "warn",
        "a file whose release is not in the archive was left out",
        one="{count} file belongs to no release",
        many="{count} files belong to no release",
        advice="Left out.",
        sentences={
            "none": "the archive has no release of this file: it is left out",
            "several": "more than one release could have this file: it is left out",
        },
    ),
    NoticeCode(
        "file_without_row",
        "warn",
        "the storage holds a file of no release",
        one="{count} file in the storage belongs to no release",
        many="{count} files in the storage belong to no release",
        advice="Nobody is served by it. Bring its release back, or remove the file.",
        sentences={"found": "no row of the registry has the file {name}, which is in the storage"},
    ),
    NoticeCode(
        "unknown_password_scheme",
        "warn",
        "a password hash of an unknown scheme was restored as it is",
        one="{count} account has a password of an unknown scheme",
        many="{count} accounts have passwords of an unknown scheme",
        advice="Each is restored as it is. Test whether the account can log in.",
        sentences={
            "restored": "the password hash is of an unknown scheme and is restored as it is: test "
            "whether this account can log in",
        },
    ),
    NoticeCode(
        "totp_not_restored",
        "warn",
        "the account has no TOTP secret: its second factor is off",
        one="{count} account will have its second factor off",
        many="{count} accounts will have their second factor off",
        advice="No archive holds TOTP secrets. Each owner has to set the second factor up again.",
        sentences={
            "off": "no archive holds TOTP secrets: the account's second factor is off until its "
            "owner sets it up again",
        },
    ),
    NoticeCode(
        "privileged_account",
        "warn",
        "an account that holds a protected right, here or in the archive, was left as it is, "
        "because that was not granted",
        one="{count} account with administrator rights stays as it is",
        many="{count} accounts with administrator rights stay as they are",
        advice="Each differs in the archive, and its archived password would let somebody in as "
        "an administrator. To replace these accounts, include administrator rights below.",
        sentences={
            "holds": "it holds a protected right here, and stays as it is, because that was not "
            "granted",
            "would_hold": "it holds a protected right in the archive, and stays as it is, because "
            "that was not granted",
        },
    ),
    NoticeCode(
        "own_account",
        "info",
        "the account of the acting admin was not changed",
        one="Your own account differs and won't be changed",
        many="Your own account differs and won't be changed",
        advice="A restore never changes the account that runs it.",
        sentences={
            "restores": "it is the account that restores, and stays as it is",
            "undoes": "it is the account that undoes, and stays as it is",
        },
    ),
    NoticeCode(
        "docs_file_differs",
        "info",
        "the content of a docs file differs from the file that is served now",
        one="{count} docs file is not the one that is served now",
        many="{count} docs files are not the ones that are served now",
        advice="Each line says what becomes of the file.",
        advice_if_kept="The stored files stay as they are, and the archive's are left out.",
        is_warning=False,
        sentences={
            "replaced": "its docs file is replaced: {stored_size} here, {size} in the archive",
            "replaced_same_size": "its docs file is replaced: {size} in both, with different "
            "content",
            "kept": "its docs file stays as it is: {stored_size} here, {size} in the archive",
            "kept_same_size": "its docs file stays as it is: {size} in both, with different "
            "content",
        },
    ),
    NoticeCode(
        "duplicate_record",
        "info",
        "rows of one key were merged, and the newest counts",
        one="{count} record is in the archive more than once",
        many="{count} records are in the archive more than once",
        advice="The newest of each is taken.",
        sentences={"merged": "{count} rows of this key were merged: the latest {field} counts"},
    ),
    NoticeCode(
        "field_without_column",
        "info",
        "the host has no column for a field of the archive: the field was left out",
        one="The registry has no column for {count} field of the archive",
        many="The registry has no column for {count} fields of the archive",
        advice="Their values are left out.",
        sentences={
            "left_out": "this host has no column for the field {field} of {kind}: it is left out",
        },
    ),
    NoticeCode(
        "right_not_granted",
        "info",
        "a protected column of the archive is left out, as it was not granted",
        one="{count} account has other rights in the archive",
        many="{count} accounts have other rights in the archive",
        advice="Left out: nobody gains or loses rights. You can change that below.",
        is_warning=False,
        sentences={"left_out": "{fields} of the archive is left out"},
    ),
    NoticeCode(
        "still_hidden",
        "warn",
        "a record was restored, but the host still hides its row",
        one="{count} restored record is still hidden",
        many="{count} restored records are still hidden",
        advice="Only a column that travels can bring them back.",
        sentences={
            "hidden": "it was restored, but the host still hides it: only a column that travels "
            "can bring it back",
        },
    ),
    NoticeCode(
        "not_kept",
        "warn",
        "what a record was before could not be kept for an undo",
        one="{count} replaced record could not be kept for an undo",
        many="{count} replaced records could not be kept for an undo",
        advice="An undo leaves them as they are.",
        sentences={
            "row": "its row holds what has no counterpart in JSON: it can't be brought back",
            "record": "what it was before could not be kept: it stays as it is",
            "file": "the {file_type} file that it had before is not there: it stays as it is, row "
            "and files",
        },
    ),
    NoticeCode(
        "file_changed",
        "warn",
        "the host changed a file in the meantime: it was left as it is",
        one="{count} file was changed by the host in the meantime",
        many="{count} files were changed by the host in the meantime",
        advice="Left as they are.",
        sentences={
            "left": "the host changed it in the meantime, so its {file_type} file was left as it "
            "is",
        },
    ),
    NoticeCode(
        "changed_since",
        "warn",
        "an undo left a record that others changed after the restore",
        one="{count} record was changed after the restore",
        many="{count} records were changed after the restore",
        advice="Left as they are.",
        sentences={
            "removed": "it was removed after the restore, and stays removed",
            "fields": "its {fields} changed after the restore: it stays as it is",
            "right": "it holds a protected right that the restore did not give: it stays as it is",
            "file": "its {file_type} file changed after the restore: it stays as it is, row and "
            "files",
        },
    ),
    NoticeCode(
        "referred_to",
        "warn",
        "an undo left a record that other rows refer to by now",
        one="Other rows refer to {count} record by now",
        many="Other rows refer to {count} records by now",
        advice="Left as they are.",
        sentences={"rows": "other rows refer to it by now: it stays"},
    ),
    NoticeCode(
        "recovered",
        "info",
        "the process ended after the decision; the rest was done by recovery",
        one="Recovery finished the operation",
        many="Recovery finished the operation",
        advice="The server process stopped unexpectedly after everything had been decided.",
        sentences={
            "finished": "its process stopped unexpectedly after the decision, and recovery "
            "finished it",
        },
    ),
)
#: All codes by name, the most serious first.
NOTICES = {code.name: code for code in _CODES}
#: The codes that an operation can warn of; the others stand in plans only.
WARNINGS = frozenset(code.name for code in _CODES if code.is_warning)
