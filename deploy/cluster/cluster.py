"""Redis, three nodes, a balancer and Prometheus as processes of this machine.

`up` runs it for people; checks use [`Cluster`] as a context. Invariant: whatever was started here is
stopped here, by its own process id, and nothing else is.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from string import Template

DEPLOY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DEPLOY / "verify"))

import tools  # noqa: E402

NODES = 3
PR_SET_PDEATHSIG = 1


def port(preferred):
    """`preferred` where it is free, or any free port."""
    for candidate in (preferred, 0):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return s.getsockname()[1]


def get(url, timeout=2):
    """Status and text of an answer; (0, reason) without one."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def reachable(number):
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", number), timeout=1).close()
    except OSError:
        return False
    return True


def child():
    """In the new process: all the file descriptors there are, and an end when this program ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One program with its log."""

    def __init__(self, name, command, directory, env=None):
        self.name, self.log = name, directory / f"{name}.log"
        self.command, self.env, self.directory = [str(c) for c in command], env or {}, directory
        self.popen = None

    def start(self):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("FANFARE_")}
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=self.directory, env=keep | self.env,
                # Ctrl-C is for us alone: what stops first is ours to say.
                start_new_session=True, preexec_fn=child,
            )  # fmt: skip

    def wait_until(self, ready, seconds=30):
        """Waits for `ready()`, or fails with the end of the log."""
        end = time.monotonic() + seconds
        while not ready():
            if self.popen.poll() is not None:
                self.fail(f"ended with {self.popen.returncode}")
            if time.monotonic() > end:
                self.fail(f"is not ready after {seconds} s")
            time.sleep(0.05)

    def fail(self, what):
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        raise tools.Failed(f"{self.name} {what}:\n" + "\n".join(tail))

    def signal(self):
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)

    def stop(self, seconds=60):
        self.signal()
        if self.popen:
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Cluster:
    """What `up` starts. `node_env` is added to every node's environment."""

    def __init__(self, directory, balancer="haproxy", node_env=None, base=8000, config=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.balancer, self.node_env, self.config = balancer, node_env or {}, config
        self.redis_port = port(base + 379)
        self.public_port = port(base)
        self.stats_port = port(base + 4)
        self.prometheus_port = port(base + 90)
        self.nodes = [
            {"name": f"gateway-{n}", "public": port(base + 10 + n), "internal": port(base + 80 + n)}
            for n in range(1, NODES + 1)
        ]
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, name, command, ready, env=None):
        process = Process(name, command, self.directory, env)
        self.processes.append(process)
        process.start()
        process.wait_until(ready)
        return process

    def start(self):
        program = tools.fanfare("serve") or tools.build_fanfare()
        self.run(
            "redis",
            [
                tools.debian_tool("redis-server"), "--port", self.redis_port, "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--dir", self.directory,
                "--client-output-buffer-limit", "pubsub 256mb 128mb 60",
            ],
            lambda: reachable(self.redis_port),
        )  # fmt: skip
        for node in self.nodes:
            self.start_node(node, program)
        if self.balancer:
            self.start_balancer()
        self.start_prometheus()

    def start_node(self, node, program):
        env = {
            "FANFARE_LISTEN": f"127.0.0.1:{node['public']}",
            "FANFARE_INTERNAL__LISTEN": f"127.0.0.1:{node['internal']}",
            "FANFARE_NODE": node["name"],
            "FANFARE_REDIS__URL": f"redis://127.0.0.1:{self.redis_port}",
            "FANFARE_WORKERS": "2",
            "FANFARE_DRAIN__WINDOW": "3s",
            "FANFARE_DRAIN__TIMEOUT": "15s",
        }
        if self.config:
            env["FANFARE_CONFIG"] = str(self.config)
        ready = f"http://127.0.0.1:{node['internal']}/readyz"
        node["process"] = self.run(
            node["name"], [program, "serve"], lambda: get(ready)[0] == 200, env | self.node_env
        )

    def start_balancer(self):
        listen = f"127.0.0.1:{self.public_port}"
        env = {"LISTEN": listen, "STATS": f"127.0.0.1:{self.stats_port}"}
        for n, node in enumerate(self.nodes, 1):
            env[f"GATEWAY_{n}"] = f"127.0.0.1:{node['public']}"
            env[f"HEALTH_PORT_{n}"] = str(node["internal"])
        if self.balancer == "haproxy":
            command = [tools.debian_tool("haproxy"), "-W", "-db", "-f", DEPLOY / "lb/haproxy.cfg"]
        else:
            config = self.directory / "nginx.conf"
            config.write_text(Template((DEPLOY / "lb/nginx.conf").read_text()).safe_substitute(env))
            command = [
                tools.debian_tool("nginx"), "-p", self.directory, "-c", config, "-g", "daemon off;",
            ]  # fmt: skip
        # Through the balancer, so a node answers.
        self.run(self.balancer, command, lambda: get(f"http://{listen}/")[0] == 200, env)

    def start_prometheus(self):
        config = self.directory / "prometheus.yml"
        targets = [
            {
                "targets": [f"127.0.0.1:{node['internal']}"],
                "labels": {"cluster": "local", "namespace": "fanfare", "pod": node["name"]},
            }
            for node in self.nodes
        ]
        # JSON is YAML.
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "5s"},
            "rule_files": [str(DEPLOY / "monitoring/alerts.yaml")],
            "scrape_configs": [{"job_name": "fanfare", "static_configs": targets}],
        }))  # fmt: skip
        self.run(
            "prometheus",
            [
                tools.debian_tool("prometheus"), f"--config.file={config}",
                f"--storage.tsdb.path={self.directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
                # k6 writes its own series beside the nodes'.
                "--web.enable-remote-write-receiver", "--enable-feature=native-histograms",
            ],
            lambda: get(f"{self.prometheus}/-/ready")[0] == 200,
        )  # fmt: skip

    def stop(self):
        """The nodes first, all at once; what they lean on after them."""
        for node in self.nodes:
            if "process" in node:
                node["process"].signal()
        own = [node.get("process") for node in self.nodes]
        for process in own + [p for p in reversed(self.processes) if p not in own]:
            if process:
                process.stop()
        self.processes = []

    @property
    def url(self):
        """Where clients connect."""
        number = self.public_port if self.balancer else self.nodes[0]["public"]
        return f"ws://127.0.0.1:{number}/ws"

    @property
    def prometheus(self):
        return f"http://127.0.0.1:{self.prometheus_port}"
