"""Machines that share nothing but the installed program: each has its own address, /tmp, home and cache folder.

They are namespaces of the kernel, joined by a bridge, and need neither root nor a daemon.
"""

import os
import secrets
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
WAIT_S = 500
HOLD = "echo; exec sleep 3600"
MACHINE = f"""
hostname "$0"
ip link set lo up
mount -t tmpfs none /tmp
mkdir /tmp/user
printf "127.0.0.1 localhost\\n%s %s\\n" "$1" "$0" > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
{HOLD}
"""
QUICK = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
"""A dead machine is noticed after ten seconds; with Ray's own numbers it takes half a minute."""


def can_have_machines() -> bool:
    """Whether this user may make them, and the program does not lie below /tmp, which each has of its own."""
    if ROOT.is_relative_to("/tmp"):
        return False
    try:
        Network().end()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class Network:
    """A bridge, and the machines whose cables lead to it."""

    def __init__(self) -> None:
        self.machines: list[Machine] = []
        self.token = secrets.token_hex(32)
        self.holder = _hold(["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", HOLD])
        self.do("ip link add hub type bridge; ip link set hub up")

    def machine(self) -> "Machine":
        """One more machine."""
        self.machines.append(Machine(self, len(self.machines) + 1))
        return self.machines[-1]

    def inside(self, pid: int, *namespaces: str) -> list[str]:
        """How a command begins that is to run where that process is."""
        return ["nsenter", f"--target={pid}", "--user", "--preserve-credentials", *namespaces]

    def do(self, script: str) -> None:
        """Run a shell script at the bridge."""
        command = [*self.inside(self.holder.pid, "--net"), "sh", "-ec", script]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def end(self) -> None:
        """Kill every machine."""
        for machine in self.machines:
            machine.kill()
        self.holder.kill()
        self.holder.wait()


class Machine:
    """A machine.

    Args:
        network: what it is joined to.
        number: the last part of its address.
    """

    def __init__(self, network: Network, number: int) -> None:
        self.network, self.name, self.cable = network, f"machine{number}", f"cable{number}"
        self.address = f"10.99.0.{number}"
        # Processes as well: a driver of Ray joins by way of any node's processes that it sees.
        begin = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = ["sh", "-ec", MACHINE, self.name, self.address]
        self.holder = _hold([*network.inside(network.holder.pid, "--net"), *begin, *script])
        (first,) = psutil.Process(self.holder.pid).children()
        self.inside = network.inside(first.pid, "--net", "--uts", "--mount", "--pid")
        network.do(
            f"ip link add {self.cable} type veth peer name eth0 netns {first.pid};"
            f"ip link set {self.cable} master hub up"
        )
        address = f"ip address add {self.address}/24 dev eth0; ip link set eth0 up"
        subprocess.run([*self.inside, "sh", "-ec", address], check=True, capture_output=True, timeout=20)
        self.numbers = count(1)
        self.home = Path(f"/proc/{first.pid}/root/tmp/user/.labs")
        """Its home folder, as this process sees it."""

    def start(self, *command: object, **variables: str) -> "Command":
        """Start a Python module with its arguments."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XDG_"))}
        environment |= {"HOME": "/tmp/user", "LABS_HOME": "/tmp/user/.labs", "TMPDIR": "/tmp", "PYTHONPATH": str(ROOT)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.network.token, **QUICK, **variables}
        folder = self.home.parent / f"command{next(self.numbers)}"
        folder.mkdir()
        return Command([*self.inside, sys.executable, "-m", *map(str, command)], environment, folder)

    def join(self, *options: str, cpus: int = 1) -> None:
        """Start a node of Ray."""
        ray = ("ray.scripts.scripts", "start", "--num-cpus", cpus, "--object-store-memory", 100_000_000)
        self.start(*ray, "--node-ip-address", self.address, *options).finish()

    def cut(self) -> None:
        """Cut its cable."""
        self.network.do(f"ip link set {self.cable} down")

    def mend(self) -> None:
        """Mend its cable."""
        self.network.do(f"ip link set {self.cable} up")

    def stop(self) -> None:
        """Kill all that runs there; the machine itself stays, with its files."""
        subprocess.run([*self.inside, "sh", "-c", "kill -KILL -1"], timeout=20)

    def kill(self) -> None:
        """Switch the machine off."""
        self.holder.kill()
        self.holder.wait()


class Command:
    """A command on a machine; what it prints goes to files in a folder, so that nobody has to read along."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.files = [folder / name for name in ("out", "err")]
        out, err = (file.open("w") for file in self.files)
        self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=err, cwd="/")

    def finish(self, code: int = 0) -> tuple[str, str]:
        """Wait for its end with that exit code; what it printed."""
        try:
            self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            printed = self.printed()
        assert self.process.returncode == code, printed[0] + printed[1]
        return printed

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        (inside,) = psutil.Process(self.process.pid).children()
        inside.send_signal(signal.SIGINT)

    def printed(self) -> tuple[str, str]:
        """What it has printed so far: standard output, standard error."""
        out, err = (file.read_text() for file in self.files)
        return out, err


def _hold(command: list[str]) -> "subprocess.Popen[bytes]":
    """A process that keeps its namespaces, once it has them."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    if process.stdout.readline() != b"\n":
        raise OSError("no namespaces can be made here")
    return process
