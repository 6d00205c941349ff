"""A Redis server of one's own."""

import shutil
from pathlib import Path

from .process import NotReady, Process, accepts, free_port


class Redis:
    """Durable, it syncs a file with every write: what it acknowledged outlives it."""

    def __init__(self, directory, durable=False):
        program = shutil.which("redis-server")
        if program is None:
            raise NotReady("redis-server is not installed: apt-get install redis-server")
        directory = Path(directory)
        data = directory / "redis"
        data.mkdir(exist_ok=True)
        self.port = free_port()
        argv = [program, "--port", self.port, "--bind", "127.0.0.1", "--save", ""]
        argv += ["--dir", data]
        argv += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        # The default cuts a subscriber that falls behind by 8 MB for a minute.
        argv += ["--client-output-buffer-limit", "pubsub 256mb 128mb 60"]
        self.process = Process("redis", argv, directory / "redis.log")

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.process.start()
        self.process.wait_until(self._ready, "ready")

    def _ready(self):
        return "Ready to accept connections" in self.process.said() and accepts(self.port)

    def stop(self):
        return self.process.stop()
