import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, "..")
from fanfare import Fanfare, FanfareError, token, verify

ENV = os.environ
API = Fanfare(ENV["FANFARE_API_KEY"], url=ENV["FANFARE_API"])


class Member:
    """A client that prints what it gets in a room, once it is there."""

    def __init__(self, user, room):
        shown = token(ENV["FANFARE_AUTH_SECRET"], {"sub": user, "rooms": {room: ["join"]}})
        self.process = subprocess.Popen(
            [ENV["FANFARE"], "sub", room, "--json", "--url", ENV["FANFARE_WS"]],
            env={**ENV, "FANFARE_TOKEN": shown},
            stdout=subprocess.PIPE,
        )
        while not any(one.get("user") == user for one in API.presence(room)):
            time.sleep(0.02)

    def next(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        with self.process.stdout:
            return self.process.wait()


class Test(unittest.TestCase):
    def test_what_is_published_arrives_and_is_kept(self):
        ann = Member("ann", "python:news")
        data = {"text": "Zoë 🎺", "list": [1, None, True]}
        at = API.publish("python:news", data, event="news", key="k1")
        self.assertEqual(API.publish("python:news", data, key="k1"), at)
        got = ann.next()
        self.assertEqual((got["data"], got["event"], got["offset"]), (data, "news", at["offset"]))
        API.publish("python:news", b"\x00\xff\n")
        kept = API.history("python:news", since=at, limit=10)["messages"]
        self.assertEqual([(one["data"], one["binary"]) for one in kept], [("AP8K", True)])
        API.disconnect(user="ann", reason="enough")
        self.assertNotEqual(ann.end(), 0)

    def test_a_broadcast_has_an_outcome_for_each_room(self):
        outcomes = API.broadcast(["python:one", "python:a/b c"], 7)
        self.assertEqual([one["offset"] for one in outcomes], [1, 1])
        self.assertEqual(API.history("python:a/b c")["messages"][0]["data"], 7)

    def test_a_message_to_a_user_says_whether_one_has_it(self):
        self.assertFalse(API.send("nobody", 1))
        bob = Member("bob", "python:hall")
        self.assertTrue(API.send("bob", 1))
        API.disconnect(room="python:hall")
        bob.end()

    def test_a_refusal_has_a_code(self):
        with self.assertRaises(FanfareError) as refused:
            Fanfare("another", url=ENV["FANFARE_API"]).publish("a", 1)
        error = refused.exception
        self.assertEqual((error.status, error.code, error.retry), (401, "unauthorized", False))
        with self.assertRaises(ValueError):
            API.publish("..", 1)
        with self.assertRaises(ValueError):
            API.disconnect()
        with self.assertRaises(ValueError):
            Fanfare("")

    def test_a_signature_is_verified(self):
        with open(ENV["VECTORS"], encoding="utf-8") as file:
            vectors = json.load(file)
        for vector in vectors:
            headers = {f"webhook-{name}": str(vector[name]) for name in ("id", "timestamp", "signature")}
            asked = vector["secret"], headers, vector["body"]
            with self.subTest(vector["name"]):
                if vector["valid"]:
                    self.assertEqual(verify(*asked, 1e12), json.loads(vector["body"]))
                else:
                    self.assertRaisesRegex(ValueError, "webhook-signature", verify, *asked, 1e12)
                self.assertRaisesRegex(ValueError, "webhook-timestamp", verify, *asked)


unittest.main()
