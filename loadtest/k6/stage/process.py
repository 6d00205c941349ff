"""A process of the stage: started, waited for, stopped, and gone when its owner is."""

import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

#: The longest that anything may take to be ready, and to stop before it is killed, in seconds.
READY = 20.0
STOP = 60.0


class NotReady(Exception):
    """A process ended early or did not become ready in time; the message shows its log's end."""


class Process:
    """One child process with its output in a log file."""

    def __init__(self, name, argv, log, env=None):
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = Path(log)
        self.env = env
        self.child = None

    def start(self):
        self.offset = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                # Ctrl-C is for the owner, who then stops its children in order.
                start_new_session=True,
                preexec_fn=_die_with_owner,
            )

    def running(self):
        return self.child is not None and self.child.poll() is None

    def said(self):
        """What it has written since it was last started."""
        with open(self.log, "rb") as log:
            log.seek(self.offset)
            return log.read().decode(errors="replace")

    def wait_until(self, check, what):
        """Waits until `check()` is true, and returns that."""
        until = time.monotonic() + READY
        while time.monotonic() < until:
            result = check()
            if result:
                return result
            if not self.running():
                break
            time.sleep(0.05)
        state = "is not" if self.running() else f"ended with {self.child.returncode} before it was"
        raise NotReady(f"{self.name} {state} {what}; its log ends:\n{self.said()[-2000:]}")

    def tell(self, number):
        if self.running():
            self.child.send_signal(number)

    def stop(self, number=signal.SIGTERM, within=STOP):
        """Asks it to end, kills it if it does not; returns how it ended."""
        if self.child is None:
            return None
        self.tell(signal.SIGCONT)
        self.tell(number)
        try:
            return self.child.wait(within)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


def free_port():
    """A port that nobody has now. Another process may take it first; then its user says so."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    """The body and status of a local page; nothing while there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return None, ""


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_owner():
    # PR_SET_PDEATHSIG: even an owner that is killed leaves nothing behind. The owner is the thread
    # that started the child, so only the main thread may.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def environment():
    """This environment without what would configure a node behind the test's back."""
    return {key: value for key, value in os.environ.items() if not key.startswith("FANFARE_")}
