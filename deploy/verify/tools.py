"""The tools that the checks need: finds them, or installs them and says so.

Everything lands in target/tools, except Debian packages. Versions are pinned here and nowhere else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TOOLS = REPO / "target" / "tools"
BIN = TOOLS / "bin"
VENV = TOOLS / "venv"

# Each check asks for what it uses.
GO = {
    "helm": "helm.sh/helm/v3/cmd/helm@v3.19.5",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score@v1.20.0",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1",
}
PIP = [
    "pyyaml==6.0.3",
    "jsonschema==4.26.0",
    "kubernetes-validate==1.37.0",
    # By number there are newer ones: a wrong epoch, which writes an old schema.
    "grafana-foundation-sdk==0.0.21",
    "websockets==15.0.1",
    "matplotlib==3.10.7",
]
# Custom resources' schemas, from the modules that define them.
CRDS = {
    "sigs.k8s.io/gateway-api@v1.3.0": [
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    "github.com/envoyproxy/gateway@v1.5.0": [
        "charts/gateway-helm/crds/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml",
    ],
}
DEBIAN = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "redis-server": "redis-server",
    "musl-gcc": "musl-tools",
}


def say(text):
    """Tells what happens, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    """What ends a check, with its reason."""


def fail(text):
    """Ends the check with a reason."""
    raise Failed(text)


def main(check):
    """Runs a check; its failure is one exit code and a reason on standard error."""
    try:
        sys.exit(check())
    except Failed as reason:
        say(f"FAILED: {reason}")
        sys.exit(1)


def run(*command, **options):
    """Runs a command that must succeed and returns what it printed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        fail(f"{' '.join(str(c) for c in command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def go_tool(name):
    """The path of a Go program, built on first use."""
    path = BIN / name
    if not path.exists():
        say(f"installing {name}: go install {GO[name]}")
        BIN.mkdir(parents=True, exist_ok=True)
        run("go", "install", GO[name], env=os.environ | {"GOBIN": str(BIN)})
    return path


def debian_tool(name):
    """The path of a program from a Debian package, installed on first use."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path:
        return path
    package = DEBIAN[name]
    say(f"installing {name}: apt-get install {package}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    # The package's own service is not wanted: two would share a port.
    policy = Path("/usr/sbin/policy-rc.d")
    held = not policy.exists()
    if held:
        run(*sudo, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod +x {policy}")
    try:
        run(*sudo, "apt-get", "update", "-q")
        run(*sudo, "apt-get", "install", "-y", "-q", "--no-install-recommends", package)
    finally:
        if held:
            run(*sudo, "rm", "-f", policy)
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def python():
    """Continues this program in a virtual environment that has what [`PIP`] lists."""
    stamp = VENV / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(PIP):
        say(f"installing into {VENV.relative_to(REPO)}: {', '.join(PIP)}")
        run(sys.executable, "-m", "venv", VENV)
        run(VENV / "bin" / "pip", "install", "-q", *PIP)
        stamp.write_text("\n".join(PIP))
    if Path(sys.prefix) != VENV:
        os.execv(VENV / "bin" / "python", [str(VENV / "bin" / "python"), *sys.argv])


def crd_files():
    """Files with the definitions of custom resources."""
    import json

    files = []
    for module, paths in CRDS.items():
        done = subprocess.run(
            ["go", "mod", "download", "-json", module], capture_output=True, text=True, cwd="/"
        )
        if done.returncode != 0:
            fail(f"cannot get {module}: {done.stdout}{done.stderr}")
        files += [Path(json.loads(done.stdout)["Dir"]) / path for path in paths]
    return files


def fanfare(needs):
    """The program under test: $FANFARE, or the newest build in target/. `needs` is an argument that it
    must know, as `serve`; where no build has it, None."""
    builds = [REPO / "target" / profile / "fanfare" for profile in ("release", "debug")]
    builds = sorted((b for b in builds if b.exists()), key=lambda b: b.stat().st_mtime, reverse=True)
    if os.environ.get("FANFARE"):
        builds = [Path(os.environ["FANFARE"]).resolve()]
    for build in builds:
        try:
            done = subprocess.run([build, needs, "--help"], capture_output=True, timeout=5)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return build
    return None


def build_fanfare():
    """Builds the program as a release does."""
    say("building fanfare: cargo build --release --locked -p fanfare-gateway")
    command = ["cargo", "build", "--release", "--locked", "-p", "fanfare-gateway"]
    if subprocess.run(command, cwd=REPO).returncode != 0:
        fail("fanfare does not build")
    return REPO / "target" / "release" / "fanfare"
