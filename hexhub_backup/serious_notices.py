"""The codes of the notices of what can do harm, the most serious first: they come before all
others."""

from __future__ import annotations

from hexhub_backup.notice_code import NoticeCode

SERIOUS = (
    NoticeCode(
        "no_right_left",
        "bad",
        "nobody who is active holds a protected right that somebody held before, or that somebody "
        "holds in the archive",
        one="Nobody will hold a right that administrators need",
        many="Nobody will hold {count} rights that administrators need",
        advice="Make sure that somebody can still manage the registry afterwards.",
        sentences={
            "lost": "nobody who is active will hold a right of {field} any more that somebody "
            "holds now",
            "archived": "nobody who is active will hold {field}, which accounts of the archive "
            "do: let protected columns in, or give it to somebody afterwards",
            "archived_and_granted": "nobody who is active will hold {field}, which accounts of "
            "the archive do: give it to somebody afterwards",
        },
    ),
    NoticeCode(
        "package_file_changed",
        "bad",
        "a package file, which never changes, is not what it was in an earlier backup",
        one="{count} package file has changed since an earlier backup",
        many="{count} package files have changed since an earlier backup",
        advice="A published file never changes by itself: somebody has replaced it, or a disk is "
        "broken. Find out which, and restore the earlier file, or acknowledge the change on the "
        "page of the backup.",
        sentences={
            "changed": "its package file has changed: SHA-256 {sha256} now, {earlier} in backup "
            "{backup}",
        },
    ),
    NoticeCode(
        "docs_file_changed",
        "bad",
        "a docs file is not what it was in a backup, and no row says that it was published anew",
        one="{count} docs file has changed since a backup",
        many="{count} docs files have changed since a backup",
        advice="Somebody has replaced it, or a disk is broken. Find out which, and bring it back.",
        sentences={"changed": "its docs file: SHA-256 {sha256} now, {earlier} in backup {backup}"},
    ),
    NoticeCode(
        "damaged_backup",
        "bad",
        "the archive of a backup is damaged",
        one="{count} backup is damaged",
        many="{count} backups are damaged",
        advice="Nothing can be restored from it: create a new backup, and look after the disk.",
    ),
    NoticeCode(
        "damaged_copy",
        "bad",
        "a copy of a backup is damaged, or gone from its place",
        one="{count} copy is damaged or gone",
        many="{count} copies are damaged or gone",
        advice="Copy these backups there again, and look after that place.",
    ),
    NoticeCode(
        "not_as_archived",
        "bad",
        "a rehearsal restored a record or a file, and it is not what was archived",
        one="{count} record or file would not come back as it was",
        many="{count} records or files would not come back as they were",
        advice="A restore would not give you back what you had. Each line says what differs: look "
        "for a trigger, a default or a rule of the database that changes it.",
        sentences={
            "lost": "it is not there after the restore",
            "extra": "it is there after the restore, and not in the archive",
            "fields": "after the restore it has other values of: {fields}",
            "file_lost": "its {file_type} file is not there after the restore",
            "file_differs": "its {file_type} file has another content after the restore",
        },
    ),
    NoticeCode(
        "not_usable",
        "bad",
        "the host's own code could not use a release that a rehearsal restored",
        one="{count} release would be of no use after a restore",
        many="{count} releases would be of no use after a restore",
        advice="The host’s own code says why. Look at the release in the backup, and publish it "
        "again if it is broken.",
        sentences={
            "found": "{problem}",
            "failed": "the host's own check ended with an error ({error}): the log of the server "
            "says where",
        },
    ),
    NoticeCode(
        "not_scanned",
        "bad",
        "a destination could not be scanned, or a copy in it is none that can be used",
        one="{count} place or copy could not be scanned",
        many="{count} places or copies could not be scanned",
        advice="What lies there is not known: look at that place, and scan it again.",
    ),
    NoticeCode(
        "privileged_credentials_changed",
        "bad",
        "the password, e-mail, second factor or deactivation of an account that holds a protected "
        "right comes from the archive, as it was granted",
        one="The log-in of {count} administrator changes",
        many="The log-ins of {count} administrators change",
        advice="You include administrator rights. Whoever knows a password of the archive, "
        "perhaps an old one, can log in as that administrator.",
        is_warning=False,
        sentences={"changed": "from the archive: {fields}"},
    ),
    NoticeCode(
        "package_file_differs",
        "bad",
        "the content of a package file differs from the file that is served now",
        one="{count} package file is not the one that is served now",
        many="{count} package files are not the ones that are served now",
        advice="The checksum of a replaced file changes: whoever has locked the old one can't "
        "fetch that release any more.",
        advice_if_kept="The stored files stay as they are, and the archive's are left out.",
        is_warning=False,
        sentences={
            "replaced": "its package file is replaced: {stored_size} here, {size} in the archive",
            "replaced_same_size": "its package file is replaced: {size} in both, with different "
            "content",
            "kept": "its package file stays as it is: {stored_size} here, {size} in the archive",
            "kept_same_size": "its package file stays as it is: {size} in both, with different "
            "content",
        },
    ),
    NoticeCode(
        "right_changed",
        "bad",
        "a protected column comes from the archive, as it was granted",
        one="The rights of {count} account change",
        many="The rights of {count} accounts change",
        advice="You include administrator rights. Make sure that these people should have the "
        "rights that the archive gives them.",
        is_warning=False,
        sentences={"changed": "{fields} comes from the archive"},
    ),
)
