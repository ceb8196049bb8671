"""Keys that another implementation published, for tests with and without cryptography."""

from __future__ import annotations

from typing import Final

# The key of the tests of golang.org/x/mod/sumdb/note.
PUBLIC: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE: Final = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
