"""The page beside a copy: what the file is, and how it is read by whoever has nothing but that."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from html import escape

from hexhub_backup import formatting
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules.manifest import MANIFEST, SUMS
from hexhub_backup.operations.sidecar import ENCRYPTED, Sidecar

# Nothing on it comes from elsewhere, nor may: it is opened years later, from a disk.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{file}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; }}
body {{ padding: 0 1rem; }}
dt {{ margin-top: 0.5rem; opacity: 0.75; }}
dd {{ margin: 0; }}
dd, code, pre {{ overflow-wrap: anywhere; }}
pre {{ white-space: pre-wrap; padding: 0.75rem; border: 1px solid; border-radius: 0.25rem; }}
</style>
</head>
<body>
<h1>Backup of {time}</h1>
<p>The file <code>{file}</code> beside this page is a backup of a package registry: a plain
tar{how}. Nothing of the software that has made it is needed to read it.</p>
<dl>
{facts}
</dl>
{sections}
</body>
</html>
"""


def copy_page(sidecar: Sidecar) -> bytes:
    """The page beside the copy that a sidecar is of. It has no secrets, and names nobody."""
    return _PAGE.format(
        file=escape(sidecar.file),
        time=escape(formatting.time(datetime.fromisoformat(sidecar.created_at))),
        how=", encrypted by age (https://age-encryption.org)" if _is_encrypted(sidecar) else "",
        facts="\n".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(sidecar)
        ),
        sections="\n".join(_sections(sidecar)),
    ).encode()


def _is_encrypted(sidecar: Sidecar) -> bool:
    return sidecar.file.endswith(ENCRYPTED)


def _archive(sidecar: Sidecar) -> str:
    """What the plain archive is called."""
    return sidecar.file.removesuffix(ENCRYPTED)


def _facts(sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    manifest = sidecar.manifest
    yield "Holds", formatting.contents(manifest["contents"])
    if sidecar.missing_files:
        yield "Files that were missing", formatting.number(sidecar.missing_files)
    version = manifest["hex_hub_version"] or "unknown"
    yield "Written by", f"{manifest.get('generator') or 'HexHub'}, registry version {version}"
    yield "Size of the tar", _bytes(sidecar.archive_size)
    yield "SHA-256 of the tar", sidecar.archive_sha256
    if _is_encrypted(sidecar):
        yield "Size of the encrypted file", _bytes(sidecar.stored_size)
        yield "SHA-256 of the encrypted file", sidecar.stored_sha256
        yield "Keys that open it, each alone", ", ".join(sidecar.recipients)


def _bytes(count: int) -> str:
    return formatting.plural(count, "{count} byte", "{count} bytes")


def _sections(sidecar: Sidecar) -> Iterator[str]:
    file, archive = shlex.quote(sidecar.file), shlex.quote(_archive(sidecar))
    folder = shlex.quote(_archive(sidecar).removesuffix(".tar"))
    identity = ""
    yield _section(
        "Check it",
        "This prints OK where not one bit has changed.",
        _check(sidecar.stored_sha256, sidecar.file),
    )
    if _is_encrypted(sidecar):
        identity = " --identity key.txt"
        yield _section(
            "Open it",
            "The file key.txt has the private half of one of the keys. The fingerprint of an SSH "
            "key is what ssh-keygen -l prints, that of a key of age the SHA-256 of its public half "
            "in Base64.",
            f"age -d -i key.txt -o {archive} {file}",
            _check(sidecar.archive_sha256, _archive(sidecar)),
        )
    sums = [f"(cd {folder} && sha256sum -c {SUMS})"] if sidecar.manifest["checksums"] else []
    members = ", ".join(kind.member for kind in KINDS)
    yield _section(
        "Look into it",
        f"Each of {members} is a JSON array with one object for each row. Below packages/ and "
        f"docs/ are the files as they were served, byte for byte. {MANIFEST} says what there is.",
        f"mkdir {folder}",
        f"tar -xf {archive} -C {folder}",
        *sums,
    )
    yield _section(
        "Restore it",
        "Into an app with hexhub_backup. It shows first what it would do, and asks. Any other "
        "program can read the JSON and the files: they are all that there is.",
        f"flask backups restore {file} --grant-protected{identity}",
    )


def _check(sha256: str, file: str) -> str:
    return f"echo {shlex.quote(f'{sha256}  {file}')} | sha256sum -c"


def _section(title: str, text: str, *commands: str) -> str:
    lines = escape("\n".join(commands))
    return f"<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n<pre>{lines}</pre>"
