"""Writes the first inputs of every fuzz target, made from the golden vectors, or by hand.

    python3 seeds.py DIRECTORY      one folder for each target is made in it

Nothing is removed: what a fuzzer found worth keeping stays beside the seeds.
"""

import json
import re
import struct
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def vectors(pattern):
    for path in sorted(VECTORS.glob(pattern)):
        for vector in json.loads(path.read_text(encoding="utf-8")):
            yield path.stem + "-" + vector["name"], vector


def texts(pattern):
    """The JSON of every vector, as it stands in the file."""
    for path in sorted(VECTORS.glob(pattern)):
        found = re.findall(r'^    "json": (.*?),?$', path.read_text(encoding="utf-8"), re.M)
        for number, text in enumerate(found):
            yield "%s-%d" % (path.stem, number), text.encode()


def frame(first, payload, key=b"\x11\x22\x33\x44"):
    """A masked frame."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return head + key + masked


def frames():
    streams = {
        "text": frame(0x81, "één".encode()),
        "fragments": frame(0x01, b"a\xce") + frame(0x89, b"ping") + frame(0x80, b"\xba"),
        "binary": frame(0x82, bytes(range(256)) * 2),
        "long": frame(0x82, b"x" * 66_000)[:8000],
        "control": frame(0x89, b"p" * 125) + frame(0x8A, b"") + frame(0x88, b"\x03\xe8bye"),
        "close": frame(0x88, b""),
        "reserved": frame(0xC1, b"x"),
        "unmasked": b"\x81\x01x",
        "huge": b"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x11\x22\x33\x44",
    }
    for name, stream in streams.items():
        for limit in (2, 4):
            # The limit, a count of cuts, the cuts.
            yield "%s-%d" % (name, limit), bytes([limit, 2, 3, 7]) + stream


def handshakes():
    good = (
        "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
    )
    requests = {
        "json": good % ("/ws?room=a&room=b%20c", "Sec-WebSocket-Protocol: chat, fanfare.v1.json\r\n"),
        "msgpack": good % ("/ws", "Sec-WebSocket-Protocol: fanfare.v1.msgpack\r\n"),
        "plain": good % ("/plain/r%C3%A9?echo=false", "Origin: http://x\r\n"),
        "page": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "head": "HEAD /client.js HTTP/1.1\r\nHost: x\r\n\r\n",
        "body": good % ("/ws", "Content-Length: 5\r\n"),
        "old": "GET /ws HTTP/1.0\r\n\r\n",
    }
    for name, request in requests.items():
        yield name, b"\x20\x00" + request.encode() + b"\x81\x80\0\0\0\0"


def commands_json():
    yield from texts("commands/*.json")
    for name, vector in vectors("refused.json"):
        if "text" in vector:
            yield name, vector["text"].encode()
    for name, vector in vectors("data.json"):
        if "json" in vector["from"]:
            data = json.dumps(vector["from"]["json"])
            yield name, ('{"type":"publish","room":"r","data":%s}' % data).encode()


def commands_msgpack():
    for name, vector in list(vectors("commands/*.json")) + list(vectors("refused.json")):
        if "msgpack" in vector:
            yield name, bytes.fromhex(vector["msgpack"])
    for name, vector in vectors("data.json"):
        head = b"\x83\xa4type\xa7publish\xa4room\xa1r\xa4data"
        yield name, head + bytes.fromhex(vector["to"]["msgpack"])


def envelopes():
    for name, vector in vectors("envelope*.json"):
        yield name, bytes.fromhex(vector["envelope"])


def tokens():
    claims = {
        "whole": {
            "sub": "42", "exp": 4102444800, "nbf": 1, "iat": 1, "jti": "1", "aud": "fanfare",
            "info": {"name": "Ann"}, "auto": ["user:{sub}"],
            "rooms": {"chat:*": ["join", "publish", "history", "presence"], "user:{sub}": ["send"]},
        },
        "number": {"sub": 7, "exp": 4102444800.5},
        "star": {"sub": "*", "exp": 4102444800, "rooms": {"{sub}:*:{sub}": ["join"]}},
        "old": {"exp": 1},
        "lasting": {"sub": "42"},
        "wrong": {"exp": 4102444800, "rooms": {"a*b*": ["jion"]}, "auto": [""]},
    }
    for name, claim in claims.items():
        yield name, json.dumps(claim).encode()
    yield "unsigned", b"eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9."
    yield "signed", b"eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ.eyJleHAiOjQxMDI0NDQ4MDB9.AAAA"


def patterns():
    for number, lines in enumerate((
        ("ann", "chat:1:vip", "chat:*", "chat:*:vip", "*", "*vip", "chat:1:vip"),
        ("*", "user:*", "user:{sub}", "{sub}:*"),
        ("", "\u00e9", "\u00e9*", "*\u00e9", "e\u0301", "%C3%A9"),
        ("a", "https://a.example.com", "https://*.example.com", "https://*.*.com:*"),
    )):
        yield str(number), "\n".join(lines).encode()


def api_bodies():
    # In the order of the calls.
    bodies = (
        {"data": [1], "event": "e", "key": "k", "except": "0000000000000001"},
        "any bytes",
        {"rooms": ["a", "b"], "data": "eA==", "binary": True},
        {"operations": [{"publish": {"room": "a", "data": None}}]},
        {"data": {}, "event": "e"},
        {"room": "a*", "user": "ann", "issued_before": 1, "until": 4102444800},
    )
    for call, body in enumerate(bodies):
        yield str(call), bytes([call]) + json.dumps(body).encode()


def proxy_headers():
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    four = bytes([192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80])
    yield "line-4", b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\nGET / HTTP/1.1\r\n"
    yield "line-6", b"PROXY TCP6 2001:db8::1 ::1 4660 80\r\n"
    yield "line-unknown", b"PROXY UNKNOWN\r\n"
    yield "binary-4", signature + b"\x21\x11\x00\x0c" + four + b"GET /"
    yield "binary-6", signature + b"\x21\x21\x00\x24" + bytes(36)
    yield "binary-local", signature + b"\x20\x00\x00\x00"
    yield "forwarded", b"for=192.0.2.1;proto=https, For=\"[2001:db8::1]:4711\""
    yield "x-forwarded-for", b"192.0.2.9, 192.0.2.1:80, 10.0.0.2"


def main(corpus):
    for target, seeds in (
        ("frames", frames()),
        ("handshake", handshakes()),
        ("commands_json", commands_json()),
        ("commands_msgpack", commands_msgpack()),
        ("envelope", envelopes()),
        ("token", tokens()),
        ("pattern", patterns()),
        ("api_body", api_bodies()),
        ("proxy_header", proxy_headers()),
    ):
        folder = Path(corpus) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in seeds:
            (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main(sys.argv[1])
