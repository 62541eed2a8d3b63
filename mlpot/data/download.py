"""One file over HTTP: resumed where it broke off, verified, and under its name only when it is right.

Own code over :mod:`urllib` because no maintained library does the whole: pooch (registry, hashes,
progress) starts a broken download afresh; requests and httpx leave ranges to their callers.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mlpot import __version__
from mlpot.atomic import is_disk_full
from mlpot.errors import DataError

#: Called with the bytes that are there and the bytes there will be (``None``: not known).
Received = Callable[[int, int | None], None]

_ATTEMPTS = 5  # in a row without a new byte
_PAUSE = 1.0  # seconds before the second attempt; doubled for each further one
_LONGEST_PAUSE = 60.0
_TIMEOUT = 30.0  # seconds without an answer
_CHUNK = 1 << 16
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_REMEDIES = {
    401: "the address is not public; report it to the maintainers of mlpot",
    403: "the server refuses; its hourly limit may be used up, or a proxy blocks it: try later or elsewhere",
    404: "the file is no longer there; update mlpot, or look for the set on its home page",
    407: "the proxy wants to know who you are: put the name and password into HTTPS_PROXY",
    410: "the file was taken away; update mlpot, or look for the set on its home page",
}

T = TypeVar("T")


class _TransientError(Exception):
    """What may go better next time; ``wait``: the seconds that the server asks for."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class _RangeError(_TransientError):
    """The server cannot go on where the part ends."""


@dataclass(frozen=True)
class Checksum:
    """A published digest of a file's bytes.

    Parameters
    ----------
    algorithm
        ``sha256``, or ``git-blob``: the SHA-1 by which git names the file's content.
    digits
        Hexadecimal; of ``sha256`` at least the first 12 digits, where no more were published.
    """

    algorithm: str
    digits: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Return the checksum written as ``algorithm:digits``.

        Raises
        ------
        ValueError
            For another algorithm, or the wrong number of digits.
        """
        algorithm, _, digits = text.partition(":")
        shortest, longest = {"sha256": (12, 64), "git-blob": (40, 40)}.get(algorithm, (1, 0))
        if not re.fullmatch(f"[0-9a-f]{{{shortest},{longest}}}" if shortest <= longest else "(?!)", digits):
            raise ValueError(
                f"checksum {text!r} is not understood; expected sha256: and 12 to 64 hexadecimal digits "
                "(small letters), or git-blob: and 40."
            )
        return cls(algorithm, digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digits}"

    def of(self, path: Path) -> Checksum:
        """Return the digest that a file has, with as many digits."""
        digest = hashlib.sha256() if self.algorithm == "sha256" else hashlib.sha1(usedforsecurity=False)
        if self.algorithm == "git-blob":
            digest.update(b"blob %d\0" % path.stat().st_size)
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        return Checksum(self.algorithm, digest.hexdigest()[: len(self.digits)])


def download(
    url: str,
    target: str | Path,
    checksum: Checksum | None = None,
    size: int | None = None,
    update: Received | None = None,
    pause: float = _PAUSE,
) -> bool:
    """Download a file, or do nothing where it is there already and right.

    What has arrived is kept in ``<target>.part`` when the connection breaks or the program is
    interrupted; the next call asks for the rest, provided that the server still has the same file
    (``If-Range`` with its ETag or date), and otherwise begins again. Passing faults (no connection,
    a broken one, status 5xx, 408, 429) are tried again five times in a row, with growing pauses.

    Parameters
    ----------
    url
        ``http`` or ``https``; proxies are taken from ``HTTPS_PROXY`` and its like.
    target
        Gets its name only when complete and verified.
    checksum
        What the bytes must be. ``None``: the caller verifies what the file says.
    size
        Bytes it must have; ``None``: not known.
    update
        Told of the progress.
    pause
        Seconds before the second attempt.

    Returns
    -------
    bool
        Whether anything was downloaded.

    Raises
    ------
    DataError
        If the file cannot be had (missing, refused, no network, certificate), is a web page in its
        place, has another size or checksum (it is removed then), or does not fit on the disk; if
        another file has its name.
    """
    target = Path(target)
    if target.exists():
        if fault := _fault(target, checksum, size):
            raise DataError(f"{target}: is there already, but {fault}; remove it to download it again.")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    try:
        _persist(lambda: _receive(url, part, size, update), part.bytes, pause, url)
    except _TransientError as error:
        rest = f", which goes on after {part.bytes()} bytes" if part.bytes() else ""
        raise DataError(
            f"{url}: {error}; tried {_ATTEMPTS} times. Check the network (behind a proxy: HTTPS_PROXY) "
            f"and run the command again{rest}."
        ) from None
    if fault := _fault(part.path, checksum, size):
        part.discard()
        raise DataError(
            f"{url}: what was downloaded {fault}; it was removed. Run the command again; if this persists, "
            "the file was changed at its source or on its way: do not use it, and tell the maintainers."
        )
    os.replace(part.path, target)
    part.discard()
    return True


def download_json(url: str, pause: float = _PAUSE) -> Any:
    """Return what a small JSON document on the web says.

    Raises
    ------
    DataError
        If it cannot be had or is no JSON.
    """

    def read() -> bytes:
        with _open(url, {}) as response:
            try:
                return response.read()
            except (OSError, http.client.HTTPException) as error:
                raise _TransientError(f"the connection broke off ({error})") from None

    try:
        return json.loads(_persist(read, lambda: 0, pause, url))
    except _TransientError as error:
        raise DataError(
            f"{url}: {error}; tried {_ATTEMPTS} times. Check the network (behind a proxy: HTTPS_PROXY)."
        ) from None
    except ValueError as error:
        raise DataError(f"{url}: expected JSON, got something else ({error}); a proxy's page?") from None


def _persist(act: Callable[[], T], progress: Callable[[], int], pause: float, url: str) -> T:
    """Carry something out, again and again while it fails in passing; new bytes reset the count."""
    failures, furthest = 0, progress()
    while True:
        try:
            return act()
        except _TransientError as error:
            failures = 1 if progress() > furthest else failures + 1
            furthest = max(furthest, progress())
            if failures >= _ATTEMPTS:
                raise
            wait = error.wait if error.wait is not None else pause * 2 ** (failures - 1)
            time.sleep(min(wait, _LONGEST_PAUSE))


def _fault(path: Path, checksum: Checksum | None, size: int | None) -> str | None:
    """Return what is wrong with a file, ``None`` for nothing."""
    if size is not None and path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes where the catalogue says {size}"
    if checksum is not None and (found := checksum.of(path)) != checksum:
        return f"has the checksum {found} where the catalogue says {checksum}"
    return None


class _Part:
    """The part of a file that has arrived, and of which version of it."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    def bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def resumable(self, url: str) -> str | None:
        """Return the validator for ``If-Range``, ``None`` where one must begin afresh."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return note["validator"] if note["url"] == url and self.bytes() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str | None) -> None:
        self.discard()
        if validator is not None:
            with _full_disk_told(self._note):
                self._note.write_text(json.dumps({"url": url, "validator": validator}))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _receive(url: str, part: _Part, size: int | None, update: Received | None) -> None:
    """Get the file, or the rest of it, into the part."""
    validator, have = part.resumable(url), part.bytes()
    asked = {"Range": f"bytes={have}-", "If-Range": validator} if validator else {}
    try:
        response = _open(url, asked)
    except _RangeError:
        part.discard()
        raise
    with response:
        _refuse_page(url, response.headers.get_content_type() == "text/html")
        if response.status == 206:
            begin, total = _content_range(response.headers.get("Content-Range", ""))
            if begin != have:
                part.discard()
                raise _TransientError("the server sent another range than it was asked for")
        else:
            have, total = 0, int(length) if (length := response.headers.get("Content-Length")) else None
            part.begin(url, _validator(response.headers))
        with open(part.path, "ab", buffering=0) as stream:
            while True:
                if update is not None:
                    update(have, total or size)
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _TransientError(f"the connection broke off after {have} bytes ({error})") from None
                if not chunk:
                    break
                if have == 0:
                    _refuse_page(url, chunk.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")))
                left = memoryview(chunk)
                with _full_disk_told(part.path):
                    while left:  # what is written unbuffered may be written in parts
                        left = left[stream.write(left) :]
                have += len(chunk)
    if total is not None and have < total:
        raise _TransientError(f"the connection broke off after {have} of {total} bytes")


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Return the answer to a request; turn failures into ours."""
    host = urlsplit(url).netloc
    headers = {"User-Agent": f"mlpot/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            answer = f"{host} answers {error.code} {error.reason}"
            if error.code == 416:
                raise _RangeError(answer) from None
            if error.code in _TRANSIENT:
                after = error.headers.get("Retry-After", "")
                raise _TransientError(answer, float(after) if after.isdigit() else None) from None
            remedy = _REMEDIES.get(error.code, "the request was not understood; update mlpot")
            raise DataError(f"{url}: {answer}; {remedy}.") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"{url}: {host} does not prove who it is ({error.reason.verify_message}); where a proxy "
                "looks into the traffic, name its certificate in SSL_CERT_FILE."
            ) from None
        raise _TransientError(f"no connection to {host} ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(f"no answer from {host} ({error or type(error).__name__})") from None


def _refuse_page(url: str, page: bool) -> None:
    if page:
        raise DataError(
            f"{url}: a web page came in place of the data, as from a proxy or the login of a network; "
            "open the address in a browser, log in there or set HTTPS_PROXY, and run the command again."
        )


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Return first byte and size of the whole of a Content-Range."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator(headers: http.client.HTTPMessage) -> str | None:
    """Return what tells this version of a file from others: a strong ETag, or its date."""
    tag = headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified")


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DataError(
            f"{path}: the disk is full; what has arrived is kept: free some space and run the command again, "
            "or remove the file and choose another --out."
        ) from None
