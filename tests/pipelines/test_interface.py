"""`labs ui`: MLflow's own pages, as a browser shows them of what was run."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labs.core import events
from pipelines.home import read_record, result
from pipelines.job import Job
from tests.benchmarks.growth import EVENTS, StandIn
from tests.browser import chromium, opened
from tests.cluster.test_listening import listening, outside
from tests.cluster.test_other_network import can_connect
from tests.conftest import new_home, said
from tests.forked import LabsProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["chromium"]
pytestmark = pytest.mark.slow
Interface = tuple[str, LabsProcess, list[str]]
"""The address that `labs ui` has said, its process, and the names of the lab's runs, the best first."""
NOT_OURS = ("404 (Not Found)", "AG Grid: ")
"""MLflow asks a server without users for the user's name, and its table warns of its own age."""


def trained(job: Job) -> str:
    """Stands in for training and for its score, which is an event like any other."""
    outcome = StandIn().run(job)
    scored = {name: value for name, value in result(job.folder)["metrics"].items() if name.startswith("test/")}
    events.append(job.folder, {"time": time.time(), "step": EVENTS, "metrics": scored})
    return outcome


@pytest.fixture(scope="module")
def interface(data_home: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    """`labs ui` in a home with a pipeline of two runs and one more run."""
    folder = tmp_path_factory.mktemp("interface")
    home, spec = new_home(folder / "home", data_home, empty_store), folder / "spec.yaml"
    node = "{lab: regression, preset: strong, size: tiny, resources: {workers: 0}, seeds: [0, 1]}"
    spec.write_text(f"{{name: two, nodes: {{a: {node}}}}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.execution.run_job", trained)
        assert said("pipeline", "run", spec, "--home", home).code == 0
        assert said("train", "regression", "--size", "tiny", "--workers", "0", "--home", home).code == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = LabsProcess(["ui", "--port", str(port)], {**os.environ, "LABS_HOME": str(home)}, folder, None)
    records = {read_record(run)["name"]: result(run)["metrics"]["test/mse"] for run in (home / "runs").iterdir()}
    try:
        yield _address(folder, process), process, sorted(records, key=records.__getitem__)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(folder: Path, process: LabsProcess) -> str:
    """What `labs ui` says at last, and nothing of it before."""
    deadline = time.monotonic() + 180
    said, text = folder / "err", ""
    while not (found := re.search(r"the runs are at (http\S+)", text)):
        text = said.read_text() if said.exists() else ""
        assert "http://" not in text.partition("the runs are at")[0]
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    return found[1]


@pytest.mark.skipif(can_connect(), reason="seen from another network in test_other_network.py")
def test_the_web_interface_is_on_loopback(interface: Interface) -> None:
    assert outside(listening(interface[1].pid)) == []


def test_it_opens_with_the_runs_as_a_tree_and_a_lab_s_view_has_the_best_first(
    chromium: "Browser", interface: Interface
) -> None:
    address, _, best_first = interface
    with opened(chromium, address, viewport={"width": 1600, "height": 900}) as watched:
        page = watched.page
        page.set_default_timeout(60_000)
        page.get_by_text(re.compile("^two 20")).wait_for()
        text = page.inner_text("body")
        assert "nodes/finished" in text  # a column of the view
        assert "regression-simple-tiny-s0" in text
        assert "regression-strong-tiny-s0" not in text  # below its pipeline
        page.goto(address.replace("=overview", "=regression"))
        page.get_by_text("3 matching runs").wait_for()
        page.get_by_role("link", name="regression-strong-tiny-s1").wait_for()
        shown = page.get_by_role("link", name=re.compile("^regression-s")).all()
        tops = {link.inner_text(): (link.bounding_box() or {})["y"] for link in shown}
        assert sorted(tops, key=tops.__getitem__) == best_first
        page.get_by_role("link", name="regression-strong-tiny-s1").click()
        page.get_by_text("labs train regression --preset strong").wait_for()
        assert "system/" not in page.inner_text("body")
        assert [said for said in watched.complaints if not any(known in said for known in NOT_OURS)] == []
