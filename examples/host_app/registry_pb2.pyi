from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DEPRECATED: Reason
DESCRIPTOR: _descriptor.FileDescriptor
INVALID: Reason
OTHER: Reason
RENAMED: Reason
SECURITY: Reason

class Dependency(_message.Message):
    __slots__ = ["app", "optional", "package", "repository", "requirement"]
    APP_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENT_FIELD_NUMBER: _ClassVar[int]
    app: str
    optional: bool
    package: str
    repository: str
    requirement: str
    def __init__(self, package: _Optional[str] = ..., requirement: _Optional[str] = ..., optional: bool = ..., app: _Optional[str] = ..., repository: _Optional[str] = ...) -> None: ...

class Names(_message.Message):
    __slots__ = ["packages", "repository"]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    packages: _containers.RepeatedCompositeFieldContainer[PackageName]
    repository: str
    def __init__(self, packages: _Optional[_Iterable[_Union[PackageName, _Mapping]]] = ..., repository: _Optional[str] = ...) -> None: ...

class Package(_message.Message):
    __slots__ = ["name", "releases", "repository"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    name: str
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    repository: str
    def __init__(self, releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ..., name: _Optional[str] = ..., repository: _Optional[str] = ...) -> None: ...

class PackageName(_message.Message):
    __slots__ = ["name", "updated_at"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    updated_at: Timestamp
    def __init__(self, name: _Optional[str] = ..., updated_at: _Optional[_Union[Timestamp, _Mapping]] = ...) -> None: ...

class PackageVersions(_message.Message):
    __slots__ = ["name", "retired", "versions"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    retired: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., retired: _Optional[_Iterable[int]] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ["dependencies", "inner_checksum", "outer_checksum", "published_at", "retired", "version"]
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    INNER_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    OUTER_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    dependencies: _containers.RepeatedCompositeFieldContainer[Dependency]
    inner_checksum: bytes
    outer_checksum: bytes
    published_at: Timestamp
    retired: Retirement
    version: str
    def __init__(self, version: _Optional[str] = ..., inner_checksum: _Optional[bytes] = ..., dependencies: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., retired: _Optional[_Union[Retirement, _Mapping]] = ..., outer_checksum: _Optional[bytes] = ..., published_at: _Optional[_Union[Timestamp, _Mapping]] = ...) -> None: ...

class Retirement(_message.Message):
    __slots__ = ["message", "reason"]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    message: str
    reason: Reason
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Signed(_message.Message):
    __slots__ = ["payload", "signature"]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    signature: bytes
    def __init__(self, payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ["nanos", "seconds"]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    nanos: int
    seconds: int
    def __init__(self, seconds: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...

class Versions(_message.Message):
    __slots__ = ["packages", "repository"]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    packages: _containers.RepeatedCompositeFieldContainer[PackageVersions]
    repository: str
    def __init__(self, packages: _Optional[_Iterable[_Union[PackageVersions, _Mapping]]] = ..., repository: _Optional[str] = ...) -> None: ...

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
