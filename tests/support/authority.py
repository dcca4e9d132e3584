"""A certificate authority and what it signs, made with `openssl`."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

__all__ = ["Authority"]


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a directory, and what it signs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.pem = str(home / "ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=ours",
                "-keyout", str(home / "ca.key"), "-out", self.pem)  # fmt: skip

    def context(self, names: str, *, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        key, request, pem = (str(self.home / f"{abs(hash((names, expired)))}.{end}") for end in ("key", "csr", "pem"))
        (self.home / "ext").write_text(f"subjectAltName={names}\n")
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=server",
            "-keyout",
            key,
            "-out",
            request,
        )
        dates = ("-not_before", "20200101000000Z", "-not_after", "20200201000000Z") if expired else ("-days", "30")
        self._sign(request, pem, dates)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        return context

    def _sign(self, request: str, pem: str, dates: tuple[str, ...]) -> None:
        common = ("-CA", self.pem, "-CAkey", str(self.home / "ca.key"), "-extfile", str(self.home / "ext"))
        if dates[0] == "-days":
            openssl("x509", "-req", "-in", request, "-out", pem, "-CAcreateserial", *common, *dates)
            return
        # `x509` learned -not_after in OpenSSL 3.4; `ca` has always had dates of its own.
        (self.home / "index").write_text("")
        (self.home / "serial").write_text("1000\n")
        (self.home / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.home}/index\nserial={self.home}/serial\nnew_certs_dir={self.home}\n"
            f"default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        openssl("ca", "-batch", "-config", str(self.home / "ca.cnf"), "-in", request, "-out", pem, "-cert", self.pem,
                "-keyfile", str(self.home / "ca.key"), "-extfile", str(self.home / "ext"), "-notext",
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")  # fmt: skip
