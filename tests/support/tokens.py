"""Tokens for a server with role-based access: signed with its key, as a client of it would (`jwt_rbac` in its guide)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

__all__ = ["collection_token", "token"]


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(key: str, access: Any, *, expires: int | None = None) -> str:
    """A token that gives this access: `r`, `m`, or a list of collections with what is allowed on each; HS256.

    `expires` is a Unix time, in seconds.
    """
    header = _part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    claims = {"access": access} | ({} if expires is None else {"exp": expires})
    body = _part(json.dumps(claims).encode())
    signed = header + b"." + body
    return (signed + b"." + _part(hmac.new(key.encode(), signed, hashlib.sha256).digest())).decode()


def collection_token(key: str, access: str, *names: str) -> str:
    """A token for these collections alone; `access` is `r`, `prw` or `rw`."""
    return token(key, [{"collection": name, "access": access} for name in names])
