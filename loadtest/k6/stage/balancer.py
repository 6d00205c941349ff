"""HAProxy or nginx before the nodes, with the configuration that the documentation recommends."""

import shutil
from pathlib import Path
from string import Template

from .process import NotReady, Process, accepts, free_port

HERE = Path(__file__).parent


class Balancer:
    """`kind` is `haproxy` or `nginx`, which are also the names of the programs and packages."""

    def __init__(self, kind, nodes, directory):
        program = shutil.which(kind) or shutil.which(kind, path="/usr/sbin")
        if program is None:
            raise NotReady(f"{kind} is not installed: apt-get install {kind}")
        directory = Path(directory)
        self.port = free_port()
        if kind == "haproxy":
            template, config = HERE / "haproxy.cfg", directory / "haproxy.cfg"
            server = "  server {name} 127.0.0.1:{port} check port {internal}"
            argv = [program, "-db", "-f", config]
        else:
            template, config = HERE / "nginx.conf", directory / "nginx.conf"
            server = "    server 127.0.0.1:{port} max_fails=0;"
            argv = [program, "-c", config, "-p", directory]
        servers = [
            server.format(name=node.name, port=node.port, internal=node.internal_port)
            for node in nodes
        ]
        text = Template(template.read_text())
        config.write_text(
            text.substitute(port=self.port, directory=directory, servers="\n".join(servers))
        )
        self.process = Process(kind, argv, directory / f"{kind}.log")

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"

    def start(self):
        self.process.start()
        self.process.wait_until(lambda: accepts(self.port), "listening")

    def stop(self):
        return self.process.stop()
