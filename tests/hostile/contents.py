"""Variants of what is in an archive: JSON, the manifest, SHA256SUMS, files.

Checksums and counts are made right again after a mutation, unless they are what is mutated, so
that it reaches the checks behind them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.hostile.archives import KINDS, LATER, MANIFEST, SUMS, Base, Members, Rows, encoded
from tests.hostile.variants import FILE, OTHER_FILE, USERS, Expect, Made, before_the_end, family
from tests.support.archives import member, pack

_TIMES = ("inserted_at", "updated_at", "deactivated_at")
_OBJECTS = ("meta", "requirements")


def _with(base: Base, name: str, data: bytes, rows: Rows | None = None) -> bytes:
    return pack(base.sealed({name: data}, rows))


# -- JSON --------------------------------------------------------------------------------------


@family("JSON: bytes")
def _json_bytes(base: Base, chance: random.Random) -> Made:
    for number in range(140):
        name = chance.choice([*KINDS.values()])
        data = bytearray(base.members[name])
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] = chance.choice(b'{}[]",:\\0-tfn \xff\xc3')
            case 2:
                data[at:at] = chance.choice((b'"', b"\\", b"[", b"\0", b"\xff", b",", b"{}", b"-"))
            case _:
                del data[at : at + chance.choice((1, 2, 10))]
        if data != base.members[name]:
            yield f"number {number} in {name}", _with(base, name, bytes(data)), "any"


#: No strict JSON, or more than an archive may hold; instead of a value.
BAD_TOKENS: dict[str, bytes] = {
    "nothing": b"",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "10**400": b"1" + b"0" * 400,
    "-10**400": b"-1" + b"0" * 400,
    "400 digits and a point": b"1" + b"0" * 400 + b".0",
    "a number of a million digits": b"9" * 1_000_000,
    "a million digits behind the point": b"0." + b"1" * 1_000_000,
    "an exponent of a million digits": b"1e" + b"1" * 1_000_000,
    "a leading zero": b"01",
    "a plus": b"+1",
    "a bare point": b".5",
    "a point without digits": b"1.",
    "hexadecimal": b"0x10",
    "a digit of Unicode": "١".encode(),
    "single quotes": b"'x'",
    "no quotes": b"x",
    "a comment": b"/**/1",
    "undefined": b"undefined",
    "True": b"True",
    "a raw line break": b'"a\nb"',
    "a raw NUL": b'"a\0b"',
    "an escaped NUL": b'"a\\u0000b"',
    "half a surrogate pair": b'"\\ud800"',
    "the other half": b'"\\udc00"',
    "halves the wrong way round": b'"\\udc00\\ud800"',
    "an unknown escape": b'"\\x41"',
    "an escape that is cut off": b'"\\u00"',
    "an open text": b'"',
    "bytes that are no UTF-8": b'"\xff"',
    "an overlong form": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a BOM": b'\xef\xbb\xbf"x"',
    "one key twice": b'{"a":1,"a":1}',
    "one key twice, escaped": b'{"a":1,"\\u0061":2}',
    "a key that is no text": b"{1:2}",
    "a comma too many": b"[1,]",
    "a missing comma": b"[1 2]",
    "65 levels": b"[" * 65 + b"]" * 65,
    "65 levels of objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "endless levels": b"[" * 200_000,
    "endless levels of objects": b'{"a":' * 100_000,
    "a bracket too many": b"1]",
    "300,000 values": b"[" + b"1," * 300_000 + b"1]",
    "a text of 5 MB": b'"' + b"x" * 5_000_000 + b'"',
    "a text of 5 MB in escapes": b'"' + b"\\u0041" * 900_000 + b'"',
}
#: Strict JSON, if not always what a field may be.
GOOD_TOKENS: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "0": b"0",
    "-0": b"-0",
    "1.5": b"1.5",
    "-0.0": b"-0.0",
    "1e5": b"1e5",
    "5e-324": b"5e-324",
    "2**63-1": b"9223372036854775807",
    "-2**63": b"-9223372036854775808",
    "2**63": b"9223372036854775808",
    "-2**63-1": b"-9223372036854775809",
    "400 digits": b"9" * 400,
    "minus and 400 digits": b"-" + b"9" * 400,
    "an empty text": b'""',
    "a blank": b'" "',
    "a pair of surrogates": b'"\\ud83d\\ude00"',
    "controls": b'"\\u0001\\u001b[31m\\u007f\\u0085\\u2028"',
    "an override of direction": b'"\\u202e"',
    "markup": b'"<script>alert(1)</script>"',
    "SQL": b'"\'; DROP TABLE users; --"',
    "a template": b'"{{ 7*7 }}"',
    "a format": b'"%s%n{0}"',
    "an object": b"{}",
    "an array": b"[]",
    "a nested array": b"[" * 50 + b"]" * 50,
    "$bytes": b'{"$bytes":"AAAA"}',
    "a class": b'{"__class__":"os.system","py/object":"os.system"}',
    "a path": b'"../../here/canary"',
    "a text of 100 KB": b'"' + b"x" * 100_000 + b'"',
}


def _positions(rows: Rows) -> Iterator[tuple[str, str]]:
    """A field of each kind of column."""
    for kind, found in rows.items():
        for field in found[0]:
            yield kind, field


def _fault(base: Base) -> Expect:
    """Of HexHub's only the row is left out, where its end is found."""
    return "refused" if base.strict else "any"


@family("JSON: bad tokens")
def _bad_tokens(base: Base, chance: random.Random) -> Made:
    places = [("users", "email"), ("packages", "meta"), ("releases", "retired"), ("owners", "own")]
    for what, token in BAD_TOKENS.items():
        for kind, field in chance.sample(places, 2) if len(token) < 10**5 else places[:1]:
            data = _replaced(base.rows, kind, field, token)
            yield f"{what} for {field} of {kind}", _with(base, KINDS[kind], data), _fault(base)
    for what, data in {
        "nothing": b"",
        "blanks": b" \n\t",
        "a BOM": b"\xef\xbb\xbf" + base.members[USERS],
        "UTF-16": base.members[USERS].decode().encode("utf-16"),
        "UTF-32": base.members[USERS].decode().encode("utf-32"),
        "Latin-1": base.members[USERS].decode().encode("latin-1"),
        "an object": b'{"users":' + base.members[USERS] + b"}",
        "a text": b'"[]"',
        "null": b"null",
        "two arrays": base.members[USERS] * 2,
        "something behind": base.members[USERS] + b"x",
        "a NUL behind": base.members[USERS] + b"\0",
        "no end": base.members[USERS].rstrip()[:-1],
        "no beginning": base.members[USERS][1:],
        "lines": base.members[USERS].replace(b"\n", b"").strip(b"[]").replace(b"},", b"}\n"),
        "an array in an array": b"[" + base.members[USERS] + b"]",
        "100,000 brackets": b"[" * 100_000,
        "a null among the rows": b"[null," + base.members[USERS].lstrip()[1:],
    }.items():
        yield f"{what} instead of the rows", _with(base, USERS, data), "refused"


def _replaced(rows: Rows, kind: str, field: str, token: bytes) -> bytes:
    mark = '"here the token goes"'
    first = rows[kind][0] | {field: json.loads(mark)}
    return encoded([first, *rows[kind][1:]]).replace(mark.encode(), token)


@family("JSON: tokens")
def _tokens(base: Base, chance: random.Random) -> Made:
    places = [*_positions(base.rows)]
    for what, token in GOOD_TOKENS.items():
        for kind, field in chance.sample(places, 5):
            data = _replaced(base.rows, kind, field, token)
            yield f"{what} for {field} of {kind}", _with(base, KINDS[kind], data), "any"


_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**63 - 1,
    2**63,
    "",
    "x",
    "2026-13-45T99:99:99Z",
    [],
    {},
)


@family("JSON: fields")
def _fields(base: Base, _: random.Random) -> Made:
    types = {"text": str, "time": str, "boolean": bool, "integer": int, "object": dict}
    for kind, field in _positions(base.rows):
        whole = [dict(row) for row in base.rows[kind]]
        was = whole[0][field]
        for value in _VALUES:
            whole[0][field] = value
            rows = base.rows | {kind: whole}
            # Of a field that was null, only its name tells the type.
            told = "time" if field in _TIMES else "object" if field in _OBJECTS else None
            told = told or next((n for n, t in types.items() if type(was) is t), "text")
            wrong = value is not None and field != "retired" and type(value) is not types[told]
            wrong |= told == "time" and isinstance(value, str)
            data = _with(base, KINDS[kind], encoded(whole), rows)
            yield f"{field} of {kind} is {value!r}", data, _fault(base) if wrong else "any"
        del whole[0][field]
        rows = base.rows | {kind: whole}
        yield f"no {field} of {kind}", _with(base, KINDS[kind], encoded(whole), rows), "any"


@family("JSON: keys")
def _keys(base: Base, _: random.Random) -> Made:
    """Names and versions, of which paths are made."""
    for text in (
        "..",
        ".",
        "../canary",
        "../../here/canary",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:",
        "a\nb",
        "a\x1bb",
        "a\x7f",
        "\u0085",
        "\u2028",
        ".hidden",
        "x" * 241,
        "é" * 130,
        " ",
        "-",
        "a" * 200,
        "con",
        "a\u202eb",
        "e\u0301",
        "A",
        "JASON",
        "%2e%2e%2f",
        "*",
        "a;b|c&d$(e)`f`",
        "<b>",
    ):
        for kind, field in (("packages", "name"), ("releases", "version"), ("users", "username")):
            rows = base.rows | {kind: [*base.rows[kind], base.rows[kind][0] | {field: text}]}
            data = _with(base, KINDS[kind], encoded(rows[kind]), rows)
            unsafe = kind != "users" and (
                text.startswith(".")
                or any(
                    c in "/\\" or c < " " or "\x7f" <= c <= "\x9f" or c == "\u2028" for c in text
                )
                or len(text.encode()) > 240
            )
            yield f"{field} of {kind} is {text[:20]!r}", data, _fault(base) if unsafe else "any"
        row = base.rows["releases"][0] | {"package_name": text}
        rows = base.rows | {"releases": [*base.rows["releases"], row]}
        data = _with(base, KINDS["releases"], encoded(rows["releases"]), rows)
        yield f"package_name of a release is {text[:20]!r}", data, "any"


@family("JSON: rows")
def _rows(base: Base, chance: random.Random) -> Made:
    for kind, found in base.rows.items():
        cases: dict[str, tuple[list[Any], Expect]] = {
            "none": ([], "any"),
            "the first only": (found[:1], "any"),
            "backwards": (found[::-1], "any"),
            "another order": (chance.sample(found, len(found)), "any"),
            # With sums two rows of a key are refused; without, the latest counts.
            "one twice": ([*found, found[0]], "refused" if base.strict else "any"),
            "one twice, the later newer": (
                [*found, found[0] | {"updated_at": LATER, "inserted_at": LATER}],
                "refused" if base.strict else "any",
            ),
            "one twice, the earlier newer": (
                [found[0] | {"updated_at": LATER, "inserted_at": LATER}, *found],
                "refused" if base.strict else "any",
            ),
            "one twice, of no time": (
                [*found, found[0] | {"updated_at": None}],
                "refused" if base.strict else "any",
            ),
            "an array": ([*found, []], "refused"),
            "a number": ([*found, 1], "refused"),
            "a null": ([*found, None], "refused"),
            "a text": ([*found, "x"], "refused"),
            "an empty object": ([*found, {}], "refused"),
            "100 wrong ones": ([*found, *[1] * 120], "refused"),
            "an array of rows": ([found], "refused"),
            "unknown fields": ([row | {"shoe_size": 43, "id": 1} for row in found], "any"),
            "columns of the host": (
                [row | {"id": 1, "is_admin": True, "totp_secret": "x"} for row in found],
                "any",
            ),
        }
        for what, (rows, expect) in cases.items():
            whole = base.rows | {kind: rows}
            data = json.dumps(rows, ensure_ascii=False).encode()
            yield f"{kind}: {what}", _with(base, KINDS[kind], data, whole), expect
            if len(rows) != len(found):
                wrong = base.sealed({KINDS[kind]: data})
                yield f"{kind}: {what}, not counted", pack(wrong), "refused"
    admin = base.rows["users"][0] | {"username": "ada", "email": "ada@elsewhere.example"}
    whole = base.rows | {"users": [*base.rows["users"], admin]}
    yield "the acting admin", _with(base, USERS, encoded(whole["users"]), whole), "any"
    for text in (
        "scrypt:1048576:15:1$x$00",
        "pbkdf2:sha256:2147483647$x$00",
        "$2b$31$" + "a" * 53,
        "$argon2id$v=19$m=99999999,t=1,p=1$a$b",
        "plain",
        "",
    ):
        rows = [base.rows["users"][0] | {"password_hash": text}, *base.rows["users"][1:]]
        yield f"password {text[:16]}", _with(base, USERS, encoded(rows)), "any"
    for email in ("carol@registry.example", "ada@registry.example", "bob@archive.example"):
        rows = [base.rows["users"][0] | {"email": email}, *base.rows["users"][1:]]
        yield f"the e-mail of another, {email}", _with(base, USERS, encoded(rows)), "any"


# -- the manifest ------------------------------------------------------------------------------


@family("manifest")
def _manifest(base: Base, chance: random.Random) -> Made:
    document = json.loads(base.members[MANIFEST])
    needed = base.strict
    value: Any
    missing: Any

    def made(**changes: Any) -> bytes:
        kept = {key: value for key, value in (document | changes).items() if value is not ...}
        return pack(base.members | {MANIFEST: json.dumps(kept).encode()})

    for version in ("2.0", "1.1", "1", "1.0 ", "1.00", "0", "", "v1.0", "1.0\n", "x" * 10_000):
        yield f"version {version[:10]!r}", made(version=version), "refused"
    for value in (None, 1, 1.0, True, [], {}, ["1.0"], ...):
        yield f"version {value!r}", made(version=value), "refused"
    for field in ("created_at", "created_by", "hex_hub_version", "generator"):
        lenient = not needed and field in ("created_by", "hex_hub_version")
        for value in (1, True, [], {}, "x" * 5000):
            yield f"{field} {value!r}"[:60], made(**{field: value}), "refused"
        for value in (None, ...):
            # Without a generator ours is still held to everything by its sums.
            same = lenient or field == "generator"
            expect: Expect = "same" if same else "refused"
            yield f"{field} {value!r}", made(**{field: value}), expect
    if not needed:
        yield "a generator", made(generator="hexhub_backup 0.1.0"), "refused"
    for text in ("soon", "2026-01-01", "2026-02-30T00:00:00Z", "", "2026-01-01T00:00:00+99:00"):
        yield f"created_at {text!r}", made(created_at=text), "refused"
    for field in ("contents", "checksums", "missing_files"):
        for value in (1, "x", True, *(([1],) if field == "missing_files" else ([],))):
            yield f"{field} {value!r}", made(**{field: value}), "refused"
        for value in (None, ...):
            allowed = not needed and not (field == "missing_files" and value is None)
            yield f"{field} {value!r}", made(**{field: value}), "same" if allowed else "refused"
    for name, right in document["contents"].items():
        for value in (right + 1, right - 1, -1, 2**40, 2**63 - 1, str(right), 1.0, True, None, [1]):
            contents = document["contents"] | {name: value}
            yield f"{name} {value!r}", made(contents=contents), "refused"
        contents = {key: value for key, value in document["contents"].items() if key != name}
        yield f"no {name}", made(contents=contents), "refused" if needed else "same"
    yield "an unknown count", made(contents=document["contents"] | {"keys": 5}), "same"
    yield "an unknown key", made(extra={"a": [1]}), "same"
    for name in document["checksums"]:
        for value in (
            "",
            "sha256:",
            "sha256:" + "0" * 64,
            document["checksums"][name].upper(),
            document["checksums"][name][:-1],
            document["checksums"][name] + "\n",
            "md5:" + "0" * 32,
            document["checksums"][name].removeprefix("sha256:"),
            None,
            1,
        ):
            checksums = document["checksums"] | {name: value}
            yield f"checksum of {name} {value!r}"[:70], made(checksums=checksums), "refused"
        checksums = {key: it for key, it in document["checksums"].items() if key != name}
        yield f"no checksum of {name}", made(checksums=checksums), "refused"
    for name in (FILE, MANIFEST, "README", ""):
        checksums = document["checksums"] | {name: "sha256:" + "0" * 64}
        yield f"a checksum of {name!r}", made(checksums=checksums), "refused"
    for missing in ([FILE], [USERS], [1], [None], [[]], FILE):
        # Only of an archive that is held to everything is this list of any meaning.
        texts = isinstance(missing, list) and all(isinstance(name, str) for name in missing)
        expect = "same" if texts and not needed else "refused"
        yield f"missing {missing!r}", made(missing_files=missing), expect
    yield "missing what is not there", made(missing_files=["docs/x-1.tar.gz"]), "same"
    for what, token in BAD_TOKENS.items():
        mark = json.dumps(document | {"extra": "the token"}).encode()
        data = mark.replace(b'"the token"', token)
        yield f"extra: {what}", pack(base.members | {MANIFEST: data}), "refused"
    whole = base.members[MANIFEST]
    for what, data in {
        "empty": b"",
        "an array": b"[" + whole + b"]",
        "twice": whole + whole,
        "a BOM": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "one key twice": b'{"version":"1.0",' + whole.lstrip()[1:],
        "null": b"null",
        "over 4 MiB": whole.rstrip() + b" " * 2**22,
        "over 4 MiB, in front": b" " * 2**22 + whole,
    }.items():
        yield what, pack(base.members | {MANIFEST: data}), "refused"
    for number in range(60):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] = chance.choice(b'0129"{}[]:,x \\\xff\0')
        if flipped != whole:
            yield f"byte {number}", pack(base.members | {MANIFEST: bytes(flipped)}), "any"


# -- sums and files ----------------------------------------------------------------------------


def _vouched(base: Base, sums: bytes) -> bytes:
    """With these sums, for which the manifest vouches."""
    return pack(base.sealed({SUMS: sums}))


@family("SHA256SUMS")
def _sums(base: Base, chance: random.Random) -> Made:
    if not base.strict:
        return
    whole = base.members[SUMS]
    lines = whole.splitlines(keepends=True)
    yield "in another order", _vouched(base, b"".join(lines[::-1])), "same"
    yield "of binary mode", _vouched(base, whole.replace(b"  ", b" *")), "same"
    yield "without the last line break", _vouched(base, whole[:-1]), "same"
    for at, line in enumerate(lines):
        yield (
            f"without line {at}",
            _vouched(base, b"".join(lines[:at] + lines[at + 1 :])),
            "refused",
        )
        yield f"line {at} twice", _vouched(base, whole + line), "refused"
        wrong = line.translate(bytes.maketrans(b"0123456789", b"1234567890"), b"")[:64] + line[64:]
        yield f"line {at} wrong", _vouched(base, whole.replace(line, wrong)), "refused"
        upper = line[:64].upper() + line[64:]
        yield f"line {at} in capitals", _vouched(base, whole.replace(line, upper)), "refused"
        named = line[:66] + b"./" + line[66:]
        yield f"line {at} with ./", _vouched(base, whole.replace(line, named)), "refused"
    zero = b"0" * 64
    for what, sums in {
        "a blank": b" ",
        "a line break": b"\n",
        "an empty line behind": whole + b"\n",
        "an empty line before": b"\n" + whole,
        "a comment": b"# sums\n" + whole,
        "CRLF": whole.replace(b"\n", b"\r\n"),
        "tabs": whole.replace(b"  ", b"\t"),
        "one blank": whole.replace(b"  ", b" "),
        "BSD's form": b"SHA256 (users.json) = " + zero + b"\n",
        "an escaped name": b"\\" + whole,
        "a BOM": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "NULs": bytes(1000),
        "a name that is not UTF-8": whole + zero + b"  \xff\n",
        "a name that leaves": whole + zero + b"  ../canary\n",
        "no name": whole + zero + b"  \n",
        "another member": whole + zero + b"  docs/x-1.tar.gz\n",
        "themselves": whole + zero + b"  SHA256SUMS\n",
        "the manifest": whole + zero + b"  manifest.json\n",
        "MD5": whole + b"0" * 32 + b"  users.json\n",
        "a line of 1 MiB": b"a" * 2**20,
        "a name of 70,000 bytes": whole + zero + b"  " + b"a" * 70_000 + b"\n",
        "a million line breaks": b"\n" * 1_000_000,
        "20,000 lines": whole + b"".join(zero + b"  docs/%d\n" % n for n in range(20_000)),
        "JSON": b"{}",
    }.items():
        yield what, _vouched(base, sums), "refused"
        yield f"{what}, not vouched for", pack(base.members | {SUMS: sums}), "refused"
    yield "wrong, not vouched for", pack(base.members | {SUMS: lines[0]}), "refused"
    yield "missing", pack({n: d for n, d in base.members.items() if n != SUMS}), "refused"
    twice = before_the_end(base, member(SUMS, whole))
    yield "there twice", twice, "refused"
    for number in range(40):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.choice(b"0af \n*\\./xX\0\xff")
        if data != whole:
            yield f"byte {number}", _vouched(base, bytes(data)), "any"


@family("files")
def _files(base: Base, chance: random.Random) -> Made:
    members = base.members
    for name in (FILE, OTHER_FILE, "packages/a-b/a-b-1.tar.gz"):
        data = members[name]
        for what, other in {
            "cut off": data[: len(data) // 2],
            "longer": data + b"x",
            "empty": b"",
            "flipped": bytes([data[0] ^ 1]) + data[1:],
            "backwards": data[::-1] + b"!",
            "noise": chance.randbytes(len(data)),
            "a tar": base.tar,
            "zeros": bytes(len(data)),
        }.items():
            # Without sums nobody can tell; with them, it is found out unless they are renewed.
            wrong: Expect = "refused" if base.strict else "any"
            yield f"{name} {what}", pack(members | {name: other}), wrong
            yield f"{name} {what}, vouched for", pack(base.sealed({name: other})), "any"
        without: Members = {key: value for key, value in members.items() if key != name}
        yield f"no {name}", pack(without), "refused"
        least = Base(base.name, without, base.rows, strict=base.strict)
        yield f"no {name}, and counted so", pack(least.sealed({})), "any"
    for name in ("packages/jason-9.9.9.tar.gz", "docs/nobody-1.tar.gz", "packages/.tar.gz"):
        yield f"{name} of no release", pack(base.sealed({name: b"x"})), "same"
    renamed = {("packages/a-b-1.tar.gz" if "a-b/" in n else n): d for n, d in members.items()}
    # `a` `b-1` and `a-b` `1` would share a name, had those with a hyphen no folder of their own.
    flat = Base(base.name, renamed, base.rows, strict=base.strict)
    if len(renamed) == len(members) - 1:
        yield "a file of a release with a hyphen, in no folder", pack(flat.sealed({})), "any"
    for name in (*KINDS.values(), MANIFEST):
        yield f"no {name}", pack({n: d for n, d in members.items() if n != name}), "refused"
        twice = before_the_end(base, member(name, members[name]))
        yield f"{name} twice", twice, "refused"
