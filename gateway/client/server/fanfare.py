"""Fanfare's HTTP API for Python 3.9 and later: one file, no dependency."""

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.parse
import urllib.request


class FanfareError(Exception):
    """A call that was refused or failed.

    code: one of the protocol's; retry: whether to try again; status: of HTTP.
    """

    def __init__(self, status, error):
        super().__init__(error.get("message", f"HTTP status {status}"))
        self.status = status
        self.code = error.get("code", "internal")
        self.retry = error.get("retry", status >= 500)


class Fanfare:
    """One installation of Fanfare, by the internal port of any of its nodes."""

    def __init__(self, key, url="http://127.0.0.1:8081", timeout=10.0):
        """key: an API key; timeout: of each call, in seconds."""
        if not key:
            raise ValueError("key: give the API key of the node's `api.key`")
        self._key, self._url, self._timeout = key, url.rstrip("/"), timeout

    def publish(self, room, data, **options):
        """Publishes into a room. Answers {epoch, offset} once the message is in the room's log.

        Options: event; key, by which a repetition is known; except_, a client to leave out.
        Bytes are sent as bytes, all else as JSON.
        """
        return self._call("POST", f"/v1/rooms/{_quoted(room)}/messages", _message(data, options))

    def broadcast(self, rooms, data, **options):
        """Publishes into up to 1000 rooms. Answers an outcome for each: a position or an error."""
        body = {"rooms": list(rooms), **_message(data, options)}
        return self._call("POST", "/v1/messages", body)["results"]

    def send(self, user, data, **options):
        """Sends to all connections of a user. Answers whether one of them has it."""
        path = f"/v1/users/{_quoted(user)}/messages"
        return self._call("POST", path, _message(data, options))["delivered"]

    def history(self, room, since=None, limit=None):
        """What a room keeps: {epoch, offset, messages}. since: a position."""
        since = since and f"{since['epoch']}:{since['offset']}"
        query = {"since": since, "limit": limit}
        return self._call("GET", f"/v1/rooms/{_quoted(room)}/messages", query=query)

    def presence(self, room):
        """Goes through the members of a room, however many, from page to page."""
        after = None
        while True:
            page = self._call("GET", f"/v1/rooms/{_quoted(room)}/members", query={"after": after})
            yield from page["members"]
            after = page.get("next")
            if not after:
                return

    def disconnect(self, *, user=None, client=None, room=None, reason=None):
        """Closes a user's connections, or one client's, or those of a room."""
        paths = [
            path.format(_quoted(name))
            for path, name in (
                ("/v1/users/{}/connections", user),
                ("/v1/connections/{}", client),
                ("/v1/rooms/{}/connections", room),
            )
            if name is not None
        ]
        if len(paths) != 1:
            raise ValueError("disconnect: give one of user, client and room")
        return self._call("DELETE", paths[0], query={"reason": reason})

    def _call(self, method, path, body=None, query=None):
        query = {name: value for name, value in (query or {}).items() if value is not None}
        url = self._url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url, method=method)
        request.add_header("Authorization", f"Bearer {self._key}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as refused:
            try:
                error = json.load(refused)["error"]
            except (ValueError, KeyError, TypeError):
                error = {}
            raise FanfareError(refused.code, error) from None


def token(secret, claims, ttl=3600):
    """Signs a token for a client, by HS256. claims: sub, rooms, auto, info; ttl: in seconds."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iat": now, "exp": now + ttl, **claims})
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    code = hmac.new(_bytes(secret), signed, hashlib.sha256).digest()
    return (signed + b"." + _base64url(code)).decode()


def verify(secret, headers, body, tolerance=300):
    """Answers the body of a webhook, parsed, if its signature holds; raises ValueError otherwise.

    headers: any mapping with get, names in lower case unless it ignores case; body: as it came;
    tolerance: how old it may be, in seconds.
    """
    ident, at, given = (headers.get(f"webhook-{name}") or "" for name in ("id", "timestamp", "signature"))
    if not at.isdecimal() or abs(time.time() - int(at)) > tolerance:
        raise ValueError("webhook-timestamp: missing, or too far from now")
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else _bytes(secret)
    code = hmac.new(key, f"{ident}.{at}.".encode() + _bytes(body), hashlib.sha256).digest()
    right = "v1," + base64.b64encode(code).decode()
    # Each is compared as bytes: a header may have letters that no signature has.
    if not any(hmac.compare_digest(one.encode(), right.encode()) for one in given.split(" ")):
        raise ValueError("webhook-signature: none was made with this secret")
    return json.loads(body)


def _message(data, options):
    message = {name.rstrip("_"): value for name, value in options.items() if value is not None}
    if isinstance(data, (bytes, bytearray)):
        return {**message, "data": base64.b64encode(data).decode(), "binary": True}
    return {**message, "data": data}


def _quoted(name):
    """A name as a part of a path, where `.` and `..` would be read as steps."""
    if name in ("", ".", ".."):
        raise ValueError(f'"{name}" cannot stand in an address; take another name')
    return urllib.parse.quote(name, safe="")


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)
