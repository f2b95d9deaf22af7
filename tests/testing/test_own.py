"""A storage and a registry of a host's own, held to what the product asks of them.

Ours are in `tests/storage/test_conformance.py` and `tests/registry/test_conformance.py`.
"""

from __future__ import annotations

from tests.support.document_registry import DocumentConformance
from tests.support.memory_storage import MemoryConformance


class TestMemoryStorage(MemoryConformance):
    """Of a host's own."""


class TestDocumentRegistry(DocumentConformance):
    """Of a host's own."""
