"""A Prometheus that takes the generator's series and scrapes the nodes: one time line for both."""

import json
import shutil
from pathlib import Path

from .process import NotReady, Process, free_port, get


class Prometheus:
    def __init__(self, nodes, directory):
        program = shutil.which("prometheus")
        if program is None:
            raise NotReady("prometheus is not installed: apt-get install prometheus")
        directory = Path(directory)
        config = directory / "prometheus.yml"
        targets = [
            {"targets": [node.internal.removeprefix("http://")], "labels": {"node": node.name}}
            for node in nodes
        ]
        scrape = {"job_name": "fanfare", "static_configs": targets}
        # JSON is YAML.
        config.write_text(
            json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
        )
        self.port = free_port()
        self.process = Process(
            "prometheus",
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver",
                "--enable-feature=native-histograms",
            ],
            directory / "prometheus.log",
        )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process.start()
        self.process.wait_until(lambda: get(f"{self.url}/-/ready")[0] == 200, "ready")

    def stop(self):
        return self.process.stop()
