"""Three machines that share nothing, and a fourth from which a user submits, with and without faults."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from labs.core import events
from pipelines.home import records, result
from tests.faults.machines import WAIT_S, Command, Machine, Network, can_have_machines
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import without_times
from tests.forked import LabsProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes minutes: make faults"),
    pytest.mark.skipif(not can_have_machines(), reason="needs namespaces of its own (unshare, nsenter, ip)"),
]
TWO = {"workers": 2}
NODES = {
    "cnn": {"lab": "cnn", "size": "tiny", "resources": TWO},
    "compression": {"lab": "compression", "size": "tiny", "needs": {"teacher": "cnn"}},
    "rl": {"lab": "rl", "size": "tiny"},
    "bert-pretrain": {"lab": "bert-pretrain", "size": "tiny"},
    "bert": {"lab": "bert", "preset": "medium", "size": "tiny", "needs": {"pretrained": "bert-pretrain"}},
    "regression": {"lab": "regression", "size": "tiny", "tune": {"trials": 3}},
}
CUT_S = 60.0


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.end()


def cluster(network: Network, machines: int, head_cpus: int = 1) -> list[Machine]:
    """Machines with one CPU each that have formed a cluster; the first is its head."""
    head = network.machine()
    head.join("--head", "--port", "6379", "--dashboard-host", head.address, cpus=head_cpus)
    return [head, *(joined(network) for _ in range(machines - 1))]


def joined(network: Network) -> Machine:
    """One more machine, which has joined the first one's cluster."""
    machine = network.machine()
    machine.join("--address", f"{network.machines[0].address}:6379")
    return machine


def train(epochs: int) -> tuple[str, ...]:
    """A command that trains for so many epochs on two workers."""
    fields = ("--set", f"epochs={epochs}", "--set", f"patience={epochs}")
    return ("train", "regression", "--preset", "strong", "--size", "tiny", "--workers", "2", "--json", *fields)


def numbers(home: Path) -> dict[str, dict[str, float]]:
    """Name of each run -> its final metrics."""
    return {run["name"]: without_times(result(folder)["metrics"]) for folder, run in records(home, "runs")}


def epochs_done(home: Path) -> int:
    return max((event["step"] for folder in home.glob("runs/*") for event in events.read(folder)), default=0)


def validation(home: Path) -> list[tuple[int, float]]:
    """Step and validation error of each epoch of the only run."""
    (folder,) = home.glob("runs/*")
    return [(e["step"], e["metrics"]["val/mse"]) for e in events.read(folder) if "val/mse" in e["metrics"]]


def wait_for_epochs(count: int, machine: Machine, command: Command) -> None:
    """Wait until a run has trained so many more than it has now."""
    done = epochs_done(machine.home)
    wait_for(lambda: epochs_done(machine.home) >= done + count, command)


def wait_for(what: Callable[[], object], command: Command) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert command.process.poll() is None, command.printed()
        assert time.monotonic() < deadline, command.printed()
        time.sleep(0.2)


def test_a_course_submitted_from_a_fourth_machine_learns_what_it_learns_on_one(
    network: Network, empty_store: Path, home: Path, tmp_path: Path, labs_process: Callable[..., LabsProcess]
) -> None:
    """Workers on two machines, nodes that need other ones' runs, RLlib's actors, trials; one command brings results."""
    head, *_ = cluster(network, 3)
    user, address = network.machine(), ("--address", f"http://{head.address}:8265")
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump({"name": "machines", "nodes": NODES}))
    shutil.copy(spec, user.home.parent)
    submit = user.start("pipelines.cli", "submit", *address, "--", "pipeline", "run", "/tmp/user/spec.yaml")
    out, err = submit.finish()
    assert "data go there, and results come from there, through Ray" in out + err
    job = re.findall(r"raysubmit_\w+", out)[0]
    user.start("pipelines.cli", "jobs", "fetch", job, *address, "--out", "/tmp/user/results").finish()
    fetched = {path.relative_to(user.home.parent / "results") for path in (user.home.parent / "results").rglob("*.csv")}
    assert any("cnn" in str(path) for path in fetched), fetched

    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    process = labs_process("pipeline", "run", str(spec))
    assert process.wait(WAIT_S) == 0, process.communicate()
    assert numbers(head.home) == numbers(home)


def test_a_machine_cut_off_another_killed_and_a_new_one_leave_the_numbers_as_they_are(
    network: Network, home: Path, labs_process: Callable[..., LabsProcess], empty_store: Path
) -> None:
    """The head has no CPU: each of the others has a worker. The machine that was cut off comes back while another one
    has its work, and must not write any more."""
    head, second, third = cluster(network, 3, head_cpus=0)
    command = head.start("tests.saving", "0.5", *train(1_000_000), RAY_ADDRESS=f"{head.address}:6379")
    wait_for(lambda: epochs_done(head.home) > 20, command)
    second.cut()
    wait_for(lambda: f"node {second.name} left" in command.printed()[1], command)
    fourth = joined(network)
    wait_for(lambda: f"node {fourth.name} joined" in command.printed()[1], command)
    wait_for_epochs(20, head, command)
    time.sleep(CUT_S)
    second.mend()
    wait_for_epochs(20, head, command)
    third.kill()
    wait_for(lambda: f"node {third.name} left" in command.printed()[1], command)
    joined(network)
    wait_for_epochs(20, head, command)
    command.interrupt()
    command.finish(code=130)
    disturbed = validation(head.home)

    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    process = labs_process(*train(len(disturbed)))
    assert process.wait(WAIT_S) == 0, process.communicate()
    assert disturbed == validation(home)[: len(disturbed)]


def test_a_killed_head_ends_the_command_and_the_same_one_continues_on_a_new_cluster(network: Network) -> None:
    head, second = cluster(network, 2)
    address = f"{head.address}:6379"
    command = second.start("tests.saving", "0.5", *train(300), RAY_ADDRESS=address)
    wait_for(lambda: epochs_done(second.home) > 20, command)
    head.stop()
    _, err = command.finish(code=1)
    message = " ".join(err.split())
    assert f"the head node of the cluster at {address} has not answered for" in message
    assert "Traceback" not in err
    second.stop()
    done = epochs_done(second.home)
    head.join("--head", "--port", "6379")
    second.join("--address", address)
    command = second.start("pipelines.cli", *train(300), RAY_ADDRESS=address)
    document = json.loads(command.finish()[0])
    assert document["status"] == "FINISHED"
    (folder,) = second.home.glob("runs/*")
    steps = [event["step"] for event in events.read(folder)]
    assert steps == [*range(1, 301), 300]  # and the test's
    assert done > 20
