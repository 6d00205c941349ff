"""One gateway node."""

import re
import signal
from pathlib import Path

from .process import Process, environment, get


class Node:
    """A node on ports of its own choosing, which it keeps over restarts."""

    def __init__(self, binary, name, logs, config=None, redis=None, settings=None):
        self.name = name
        env = environment()
        env |= {"FANFARE_NODE": name, "FANFARE_LISTEN": "127.0.0.1:0"}
        env |= {"FANFARE_INTERNAL__LISTEN": "127.0.0.1:0"}
        env |= {"FANFARE_CONFIG": str(config)} if config else {}
        env |= {"FANFARE_REDIS__URL": redis} if redis else {}
        env |= settings or {}
        self.process = Process(name, [binary], Path(logs) / f"{name}.log", env)
        self.port = self.internal_port = None

    def start(self):
        self.process.start()
        said = self.process.wait_until(self._addresses, "listening")
        self.port, self.internal_port = said
        # A node that is restarted comes back where the balancer looks for it.
        self.process.env["FANFARE_LISTEN"] = f"127.0.0.1:{self.port}"
        self.process.env["FANFARE_INTERNAL__LISTEN"] = f"127.0.0.1:{self.internal_port}"
        self.process.wait_until(self.ready, "ready")

    def _addresses(self):
        text = self.process.said()
        public = re.search(r"^public +http://[\d.]+:(\d+)/", text, re.M)
        internal = re.search(r"^internal +http://[\d.]+:(\d+)/", text, re.M)
        return public and internal and (int(public[1]), int(internal[1]))

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def internal(self):
        return f"http://127.0.0.1:{self.internal_port}"

    def ready(self):
        return get(f"{self.internal}/readyz")[0] == 200

    def metrics(self):
        """Its series, each by name and labels, and each name's sum; empty while it is down."""
        series = {}
        for line in get(f"{self.internal}/metrics")[1].splitlines():
            if line.startswith("#") or " " not in line:
                continue
            key, value = line.rsplit(" ", 1)
            series[key] = float(value)
            name = key.split("{")[0]
            if name != key:
                series[name] = series.get(name, 0.0) + float(value)
        return series

    def stop(self, number=signal.SIGTERM):
        return self.process.stop(number)
