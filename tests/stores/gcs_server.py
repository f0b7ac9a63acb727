"""A small Google Cloud Storage, written against its documented JSON API, for no server that can be installed keeps
`ifGenerationMatch=0`. In memory. `python gcs_server.py PORT`."""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

PAGE = 500
STEP = 256 << 10
"""What came of a part that breaks off is kept in steps of so many bytes."""


@dataclass
class Stored:
    content: bytes
    metadata: dict[str, str]
    generation: int
    retention: dict[str, str] = field(default_factory=dict)

    @property
    def crc32c(self) -> str:
        return crc32c(self.content)


@dataclass
class Upload:
    """A resumable session."""

    bucket: str
    name: str
    resource: dict[str, Any]
    create_only: bool
    content: bytearray = field(default_factory=bytearray)
    request: int = 0
    """The latest: what an older one still sends is ignored."""
    stored: Stored | None = None


NUMBERED = {"X-GUploader-UploadID": "a number"}
"""As answers of the service have that bring an object, or would."""


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Store:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self.retaining: set[str] = set()
        self.accounts: dict[str, list[str]] = {}
        self.generation = 0

    def retain(self, bucket: str, stored: Stored | None, wanted: dict[str, str]) -> dict[str, str]:
        """What an object's retention becomes. In mode *Locked* it may only be prolonged."""
        if not wanted:
            return stored.retention if stored else {}
        if bucket not in self.retaining:
            raise Refusal(400, "Object retention is not enabled for this bucket.")
        if stored and stored.retention.get("mode") == "Locked":
            shorter = moment(wanted["retainUntilTime"]) < moment(stored.retention["retainUntilTime"])
            if shorter or wanted["mode"] != "Locked":
                raise Refusal(403, "The retention of a locked object can't be reduced or removed.")
        return wanted

    def check_unretained(self, name: str, stored: Stored) -> None:
        until = stored.retention.get("retainUntilTime")
        if until and moment(until) > datetime.now(UTC):
            raise Refusal(403, f"Object '{name}' is under active Object retention until {until}.")

    def bucket(self, name: str) -> dict[str, Stored]:
        if name not in self.buckets:
            raise Refusal(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def object(self, bucket: str, name: str) -> Stored:
        found = self.bucket(bucket).get(name)
        if found is None:
            raise Refusal(404, f"No such object: {bucket}/{name}")
        return found

    def create(self, upload: Upload) -> Stored:
        """Checks and stores in one step."""
        content = bytes(upload.content)
        claimed = upload.resource.get("crc32c")
        if claimed and claimed != crc32c(content):
            raise Refusal(400, f"Provided CRC32C hash {claimed} doesn't match calculated hash.")
        with self.lock:
            bucket = self.bucket(upload.bucket)
            if upload.create_only and upload.name in bucket:
                raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
            self.generation += 1
            if upload.name in bucket:
                self.check_unretained(upload.name, bucket[upload.name])
            retention = self.retain(upload.bucket, None, upload.resource.get("retention", {}))
            bucket[upload.name] = Stored(content, upload.resource.get("metadata", {}), self.generation, retention)
            return bucket[upload.name]


STORE = Store()


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def described(bucket: str, name: str, stored: Stored) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{stored.generation}",
        "bucket": bucket,
        "name": name,
        "size": str(len(stored.content)),
        "crc32c": stored.crc32c,
        "metadata": stored.metadata,
        "generation": str(stored.generation),
        "metageneration": "1",
        **({"retention": stored.retention} if stored.retention else {}),
    }


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        try:
            if self.command == "PUT" and "upload_id" in query:
                self._part(query["upload_id"], length)
                return
            body = self.rfile.read(length) if length else b""
            if len(body) < length:
                self.close_connection = True
                return
            if url.path == "/token":
                self._token(body)
                return
            self._check_allowed(url.path, query)
            self._route(url.path, query, body)
        except Refusal as refusal:
            told = {"error": {"code": refusal.status, "message": str(refusal)}}
            media = query.get("alt") == "media"
            if media:
                self._answer(refusal.status, str(refusal).encode(), NUMBERED)
            else:
                self._answer(refusal.status, json.dumps(told).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - the names that http.server looks for

    def _route(self, path: str, query: dict[str, str], body: bytes) -> None:
        verb = self.command
        if verb == "POST" and path == "/accounts":
            told = json.loads(body)
            STORE.accounts[told["account"]] = told["permissions"]
            self._json({})
        elif verb == "POST" and path == "/storage/v1/b":
            STORE.buckets.setdefault(json.loads(body)["name"], {})
            if query.get("enableObjectRetention") == "true":
                STORE.retaining.add(json.loads(body)["name"])
            self._json(json.loads(body))
        elif verb == "DELETE" and (match := re.fullmatch(r"/storage/v1/b/([^/]+)", path)):
            STORE.buckets.pop(unquote(match[1]))
            self._answer(204, b"")
        elif match := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", path):
            self._upload(unquote(match[1]), query, body)
        elif match := re.fullmatch(r"/storage/v1/b/([^/]+)/o", path):
            self._list(unquote(match[1]), query)
        elif match := re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)", path):
            bucket, name = unquote(match[1]), unquote(match[2])
            if verb == "DELETE":
                with STORE.lock:
                    STORE.check_unretained(name, STORE.object(bucket, name))
                    del STORE.bucket(bucket)[name]
                self._answer(204, b"")
            elif verb == "PATCH":
                with STORE.lock:
                    stored = STORE.object(bucket, name)
                    stored.retention = STORE.retain(bucket, stored, json.loads(body).get("retention", {}))
                self._json(described(bucket, name, stored))
            elif query.get("alt") == "media":
                self._media(STORE.object(bucket, name))
            else:
                self._json(described(bucket, name, STORE.object(bucket, name)))
        else:
            raise Refusal(404, f"{verb} {path} is not known here")

    def _token(self, body: bytes) -> None:
        """For a service account's signed claim: which account it is; whether it is signed right is not looked at."""
        claim = parse_qs(body.decode())["assertion"][0].split(".")[1]
        account = json.loads(base64.urlsafe_b64decode(claim + "=" * (-len(claim) % 4)))["iss"]
        if account not in STORE.accounts:
            told = {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
            self._answer(400, json.dumps(told).encode(), {"Content-Type": "application/json"})
            return
        self._json({"access_token": account, "expires_in": 3600, "token_type": "Bearer"})

    def _check_allowed(self, path: str, query: dict[str, str]) -> None:
        """An account may do what its role permits, who has no token everything: he is the bucket's owner."""
        for needed in self._permissions(path, query):
            self._check_may(needed)

    def _check_may(self, needed: str) -> None:
        _, _, account = self.headers.get("Authorization", "").partition("Bearer ")
        if account and account not in STORE.accounts:
            raise Refusal(401, "Invalid Credentials")
        if account and needed not in STORE.accounts[account]:
            raise Refusal(403, f"{account} does not have {needed} access to the Google Cloud Storage object.")

    def _check_may_retain(self, upload: Upload) -> None:
        if upload.resource.get("retention"):
            self._check_may("storage.objects.setRetention")

    def _permissions(self, path: str, query: dict[str, str]) -> list[str]:
        if path.startswith("/upload/"):
            # Whoever overwrites deletes what was there.
            return ["storage.objects.create", *([] if "ifGenerationMatch" in query else ["storage.objects.delete"])]
        if not re.fullmatch(r"(?:/download)?/storage/v1/b/[^/]+/o(/.+)?", path):
            return ["storage.buckets.update"]
        if path.endswith("/o"):
            return ["storage.objects.list"]
        verbs = {
            "GET": ["storage.objects.get"],
            "DELETE": ["storage.objects.delete"],
            "PATCH": ["storage.objects.update", "storage.objects.setRetention"],
        }
        return verbs[self.command]

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        STORE.bucket(bucket)
        create_only = query.get("ifGenerationMatch") == "0"
        if query["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?=*([^";]+)', self.headers["Content-Type"])
            assert boundary is not None
            mark = b"--" + re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()  # type: ignore[index]
            _, described_part, rest = body.split(mark, 2)
            resource = json.loads(described_part.partition(b"\r\n\r\n")[2])
            content = rest.partition(b"\r\n\r\n")[2]
            content = content[: content.rindex(b"\r\n" + mark + b"--")]
            upload = Upload(bucket, resource["name"], resource, create_only, bytearray(content))
            self._check_may_retain(upload)
            self._json(described(bucket, upload.name, STORE.create(upload)))
            return
        resource = json.loads(body)
        upload = Upload(bucket, resource["name"], resource, create_only)
        self._check_may_retain(upload)
        if create_only and upload.name in STORE.bucket(bucket):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
        with STORE.lock:
            STORE.generation += 1
            key = f"upload-{STORE.generation}"
            STORE.uploads[key] = upload
        host = self.headers["Host"]
        place = f"http://{host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        self._answer(200, b"", {"Location": place})

    def _part(self, key: str, length: int) -> None:
        """The rest of an object or some of it, taken in while it comes; or, without a body, the question how much of
        it is there."""
        upload = STORE.uploads.get(key)
        if upload is None:
            self.close_connection = True
            raise Refusal(404, "no such upload")
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        with STORE.lock:
            upload.request += 1
            own = upload.request
            if span and span[1] and int(span[1]) != len(upload.content):
                self.close_connection = True
                raise Refusal(503, "the part does not follow what was received")
        while length:
            piece = self.rfile.read(min(STEP, length))
            last = len(piece) == length
            if not last and len(piece) < STEP:
                self.close_connection = True
                return
            length -= len(piece)
            with STORE.lock:
                if upload.request != own:
                    self.close_connection = True
                    return
                upload.content += piece
        if upload.stored is None and (not span or (span[3] != "*" and len(upload.content) == int(span[3]))):
            try:
                upload.stored = STORE.create(upload)
            except Refusal:
                STORE.uploads.pop(key, None)
                raise
            upload.content = bytearray()
        if upload.stored is not None:
            self._json(described(upload.bucket, upload.name, upload.stored))
            return
        received = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
        self._answer(308, b"", received)

    def _media(self, stored: Stored) -> None:
        size = len(stored.content)
        headers = {
            **NUMBERED,
            "X-Goog-Hash": f"crc32c={stored.crc32c}",
            "X-Goog-Stored-Content-Length": str(size),
            "X-Goog-Generation": str(stored.generation),
            **{f"X-Goog-Meta-{name}": value for name, value in stored.metadata.items()},
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not span:
            self._answer(200, stored.content, headers)
            return
        first, last = int(span[1]), min(int(span[2] or size - 1), size - 1)
        if first >= size:
            raise Refusal(416, "The requested range cannot be satisfied.")
        self._answer(
            206, stored.content[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        )

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), query.get("pageToken", "")
        with STORE.lock:
            names = sorted(name for name in STORE.bucket(bucket) if name.startswith(prefix) and name > after)
            page = names[: min(PAGE, int(query.get("maxResults", PAGE)))]
            items = [described(bucket, name, STORE.bucket(bucket)[name]) for name in page]
        more = {"nextPageToken": page[-1]} if len(page) < len(names) else {}
        self._json({"kind": "storage#objects", "items": items, **more})

    def _json(self, told: dict[str, Any]) -> None:
        self._answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that went away in the middle, which tests are full of."""


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
