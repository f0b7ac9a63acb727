"""Chroma's HTTP API, version 2: the one file that talks to a server, and translates what goes wrong there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tasks.errors import BackupError, Exists, Missing, Refused, SettingsError, SourceError, Unavailable
from tasks.secret import Secret, url_of
from tasks.sources.chroma.records import Batch, Collection, JsonObject, Record, at_once

if TYPE_CHECKING:
    import httpx

    from tasks.numbers import NDArray
    from tasks.numbers import numpy as np

_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 300.0
_SAID = 200
_HERE = ("127.0.0.1", "localhost", "[::1]")
_BUILT_WITH = ("ef_construction", "ef_search", "max_neighbors", "resize_factor", "sync_threshold")
_ALL = ["embeddings", "documents", "metadatas", "uris"]


class NotTaken(Refused):
    """The server refuses what it was given, and not who gave it."""


class Faulty(Unavailable):
    """The server is there, and failed at this one thing."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is reached. Nothing of it but the references is ever shown."""

    url: Secret | str
    token: Secret | None = None
    token_header: str = "authorization"  # noqa: S105 - the name of a header


class Server:
    """Use as a context. All methods raise `Unavailable`, `Refused`, `SettingsError`, `SourceError`."""

    def __init__(self, access: Access) -> None:
        import httpx

        self.shown = "the Chroma server" if isinstance(access.url, Secret) else f"the Chroma server at `{access.url}`"
        headers = {}
        if access.token is not None:
            token = access.token.read()
            if not token.isascii() or not token.isprintable():
                raise SettingsError(f"the token `{access.token}` is no token: it holds more than printable ASCII")
            bearer = access.token_header == "authorization"  # noqa: S105
            headers = {"authorization": f"Bearer {token}"} if bearer else {access.token_header: token}
        try:
            parts = urlsplit(url_of(access.url).strip())
            port = f":{parts.port}" if parts.port else ""
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            if parts.scheme not in ("http", "https") or not host:
                raise ValueError
            plain = urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))
            base = httpx.URL(f"{plain}/api/v2")
        except (ValueError, httpx.InvalidURL):
            # Without its cause, which may quote the address, and that a password.
            raise SettingsError(f"the address of {self.shown} is no URL: write it as `http://host:8000`") from None
        self.shown = f"the Chroma server at `{plain}`"
        login = httpx.BasicAuth(unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        times = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        # No proxy knows the way to this host, whatever HTTP_PROXY says.
        here = parts.scheme == "http" and host in _HERE
        self._client = httpx.Client(base_url=base, headers=headers, auth=login, timeout=times, trust_env=not here)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, method: str, *path: str, body: Any = None) -> Any:
        """The answer to one request. Raises `Missing` and `Exists` too."""
        import httpx

        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"content-type": "application/json"} if content else {}
        where = "/" + "/".join(quote(part, safe="") for part in path)
        try:
            answer = self._client.request(method, where, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self.shown} does not answer in time") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{self.shown} can't be reached: {str(error).rstrip('.')}; is it running?") from error
        if answer.is_success:
            try:
                return answer.json() if answer.content else None
            except ValueError as error:
                raise SourceError(f"{self.shown} answers what is no JSON: is it a Chroma server?") from error
        raise self._translated(answer)

    def _translated(self, answer: httpx.Response) -> BackupError:
        status, said = answer.status_code, _said(answer)
        if status in (401, 403):
            return Refused(f"{self.shown} refuses the token or login ({status}): see to `token` and `token_header`")
        if status == 404:
            return Missing(f"{self.shown} has no such thing: {said}")
        if status == 409:
            return Exists(f"{self.shown} has that already: {said}")
        if status in (408, 429) or status >= 500:
            return Faulty(f"{self.shown} failed ({status}): {said}")
        return NotTaken(f"{self.shown} does not take it ({status}): {said}")

    def version(self) -> str:
        """Raises `SourceError` where no Chroma of version 1.0 or newer answers."""
        try:
            beat = self.ask("GET", "heartbeat")
            version = self.ask("GET", "version")
        except Missing as error:
            raise SourceError(f"{self.shown} has no API of version 2: it must be Chroma 1.0 or newer") from error
        if not isinstance(beat, dict) or "nanosecond heartbeat" not in beat:
            raise SourceError(f"what answers is no Chroma: {self.shown}")
        return str(version)

    def limits(self) -> tuple[int, bool]:
        """The most records in one request, and whether vectors may be sent as base64."""
        found = self.ask("GET", "pre-flight-checks")
        return int(found.get("max_batch_size") or 1000), bool(found.get("supports_base64_encoding"))

    def databases(self, tenant: str) -> list[str]:
        """Raises `Missing` for a tenant that is not there."""
        self.ask("GET", "tenants", tenant)
        return sorted(each["name"] for each in self.ask("GET", "tenants", tenant, "databases"))

    def collections(self, tenant: str, database: str) -> list[ServerCollection]:
        """All, by name. One that is made or deleted meanwhile makes it look again, so that none is missed."""
        place = ("tenants", tenant, "databases", database)
        for _ in range(10):
            found = self.ask("GET", *place, "collections")
            if len(found) == int(self.ask("GET", *place, "collections_count")):
                return sorted((ServerCollection(self, each) for each in found), key=lambda each: each.about.name)
        raise Unavailable(f"{self.shown} lists other collections of `{tenant}/{database}` than it counts")

    def find(self, tenant: str, database: str, name: str) -> ServerCollection | None:
        try:
            return ServerCollection(
                self, self.ask("GET", "tenants", tenant, "databases", database, "collections", name)
            )
        except Missing:
            return None

    def create(self, about: Collection) -> ServerCollection:
        """A collection without records, and its tenant and database where they are not there."""
        self.make_place(about.tenant, about.database)
        place = ("tenants", about.tenant, "databases", about.database, "collections")
        body: JsonObject = {"name": about.name, "metadata": about.metadata}
        plain = body | {"configuration": configuration_of(about)}
        # A schema says more than a configuration. A server takes one of them, and with settings in the metadata, as
        # older clients put them there, no schema.
        if about.schema is None or any(key.startswith("hnsw:") for key in about.metadata or ()):
            return ServerCollection(self, self.ask("POST", *place, body=plain))
        try:
            made = ServerCollection(self, self.ask("POST", *place, body=body | {"schema": about.schema}))
        except Refused:
            # It is of another version: what a configuration can say, it will understand.
            return ServerCollection(self, self.ask("POST", *place, body=plain))
        if configuration_of(made.about) == configuration_of(about):
            return made
        # Chroma 1.5 forgets the embedding function of a schema that is otherwise its default.
        made.delete()
        return ServerCollection(self, self.ask("POST", *place, body=plain))

    def make_place(self, tenant: str, database: str) -> None:
        for path, name in ((("tenants",), tenant), (("tenants", tenant, "databases"), database)):
            try:
                self.ask("GET", *path, name)
            except Missing:
                try:
                    self.ask("POST", *path, body={"name": name})
                except Exists:
                    continue  # someone else was faster


class ServerCollection:
    """A collection at a server, as it was when it was asked for."""

    def __init__(self, server: Server, found: JsonObject) -> None:
        self.server = server
        self.about = Collection(
            found["tenant"],
            found["database"],
            found["name"],
            found.get("dimension"),
            found.get("metadata") or None,
            found.get("configuration_json") or None,
            found.get("schema") or None,
        )
        self.number = str(found["id"])

    def _ask(self, verb: str, *, body: Any = None, method: str = "POST") -> Any:
        place = ("tenants", self.about.tenant, "databases", self.about.database, "collections", self.number)
        return self.server.ask(method, *place, *([verb] if verb else []), body=body)

    def again(self) -> ServerCollection | None:
        """The same collection as it is now, also where it has another name now; None if it was deleted. Raises
        `Missing` if its database was."""
        found = self.server.find(self.about.tenant, self.about.database, self.about.name)
        if found and found.number == self.number:
            return found
        known = self.server.collections(self.about.tenant, self.about.database)
        return next((each for each in known if each.number == self.number), None)

    def count(self) -> int:
        return int(self._ask("count", method="GET"))

    def ids(self) -> list[str]:
        """Sorted, all at once: pages by offset miss records while others are deleted."""
        return sorted(self._ask("get", body={"include": []})["ids"])

    def fetch(self, ids: Sequence[str]) -> list[tuple[Record, bytes]]:
        """Those of these records that are there: each, and the bytes of its vector, empty if it has none."""
        most = at_once(self.about.dimension)
        return [row for start in range(0, len(ids), most) for row in self._fetched(ids[start : start + most])]

    def _fetched(self, ids: Sequence[str]) -> list[tuple[Record, bytes]]:
        from tasks.numbers import numpy as np

        got = self._ask("get", body={"ids": list(ids), "include": _ALL})
        vectors = got.get("embeddings") or [None] * len(got["ids"])
        found = []
        for at, name in enumerate(got["ids"]):
            vector = b"" if vectors[at] is None else np.asarray(vectors[at], "<f4").tobytes()
            found.append((Record(name, got["documents"][at], got["uris"][at], got["metadatas"][at] or None), vector))
        return found

    def query(
        self, vector: NDArray[np.float64], nearest: int
    ) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
        """What the index says is nearest: ids, distances and vectors; NaN for what it has no number for."""
        from tasks.numbers import numpy as np

        body = {"query_embeddings": [vector.tolist()], "n_results": nearest, "include": ["distances", "embeddings"]}
        got = self._ask("query", body=body)
        distances, vectors = (np.asarray(got[name][0], "f8") for name in ("distances", "embeddings"))
        return got["ids"][0], distances, vectors.reshape(-1, len(vector))

    def add(self, batch: Batch, *, in_base64: bool) -> None:
        """Records that are not there yet."""
        from tasks.numbers import numpy as np

        vectors: list[Any] = batch.vectors.astype("f8").tolist() if not in_base64 else []
        if in_base64:
            vectors = [base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode() for row in batch.vectors]
        records = batch.records
        body = {
            "ids": batch.ids,
            "embeddings": vectors,
            "documents": [record.document for record in records],
            "uris": [record.uri for record in records],
            "metadatas": [record.metadata for record in records],
        }
        self._ask("add", body=body)

    def remove(self, ids: Iterable[str]) -> None:
        if wanted := list(ids):
            self._ask("delete", body={"ids": wanted})

    def give_metadata(self, metadata: JsonObject) -> None:
        self._ask("", method="PUT", body={"new_metadata": metadata})

    def delete(self) -> None:
        place = ("tenants", self.about.tenant, "databases", self.about.database, "collections", self.about.name)
        self.server.ask("DELETE", *place)


def configuration_of(about: Collection) -> JsonObject:
    """What a collection's index and embedding function are, as version 1.0 and all later ones understand it."""
    given = about.configuration or {}
    index = (about.schema or {}).get("keys", {}).get("#embedding", {}).get("float_list", {}).get("vector_index", {})
    held = index.get("config") or {}
    built = given.get("hnsw") or held.get("hnsw") or {}
    function = given.get("embedding_function") or held.get("embedding_function")
    settings = {"space": about.distance} | {name: built[name] for name in _BUILT_WITH if name in built}
    return {"hnsw": settings} | ({"embedding_function": function} if function else {})


def _said(answer: httpx.Response) -> str:
    """A server's own words, in one short line."""
    try:
        held = answer.json()
        text = str(held.get("message") or held.get("detail") or held) if isinstance(held, dict) else str(held)
    except ValueError:
        text = answer.reason_phrase or "no reason given"
    text = " ".join(text.split())
    return text if len(text) <= _SAID else text[:_SAID] + "…"
