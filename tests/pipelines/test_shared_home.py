"""Which nodes of a cluster do not see the home folder is found out, and said, before anything starts there."""

from pathlib import Path
from typing import Any

import pytest
import ray

from pipelines import home_files, shared_home


class Task:
    """A remote function that answers for each node as the test says; None is an answer that never comes."""

    def __init__(self, answers: dict[str, bool | None]) -> None:
        self.answers = answers

    def options(self, scheduling_strategy: Any) -> "Task":
        self.node = scheduling_strategy.node_id[0]
        return self

    def remote(self, sign: Path) -> str:
        assert sign.exists()
        return self.node


@pytest.fixture
def served() -> set[str]:
    return set()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: set[str]) -> Any:
    """Asks a cluster whose nodes give these answers; returns what is said, and notes the nodes that are served."""

    def ask(**answers: bool | None) -> list[str]:
        nodes = [{"NodeID": name * 56, "NodeManagerHostname": f"host-{name}", "Alive": True} for name in answers]
        monkeypatch.setattr(ray, "nodes", lambda: nodes)
        monkeypatch.setattr(ray, "remote", lambda **options: lambda function: Task(answers))
        monkeypatch.setattr(ray, "get", lambda ref: answers[ref])
        monkeypatch.setattr(
            ray,
            "wait",
            lambda refs, num_returns, timeout: (
                [ref for ref in refs if answers[ref] is not None],
                [ref for ref in refs if answers[ref] is None],
            ),
        )
        monkeypatch.setattr(home_files, "find", lambda: None)
        monkeypatch.setattr(home_files, "serve", served.update)
        said: list[str] = []
        shared_home.serve_nodes_without_it(tmp_path, said.append)
        return said

    return ask


def test_nodes_that_do_not_see_the_home_are_named_and_served(asked: Any, served: set[str], tmp_path: Path) -> None:
    assert asked(a=True, b=False, c=False) == [
        f"no home folder {tmp_path} on host-b, host-c: data go there, and results come from there, through Ray"
    ]
    assert {node[0] for node in served} == {"b", "c"}
    assert not list(tmp_path.iterdir())


def test_nothing_is_served_where_all_share_the_home(asked: Any, served: set[str], tmp_path: Path) -> None:
    assert asked(a=True, b=True) == []
    assert not served
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_answer_in_time_is_told(asked: Any) -> None:
    (warning,) = asked(a=True, b=None)
    assert "host-b did not say within 30 s" in warning


def test_a_cluster_of_one_node_is_not_asked(asked: Any) -> None:
    assert asked(a=None) == []


def test_a_file_that_is_not_there_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_home, "SEEN_WITHIN_S", 0.0)
    (tmp_path / "there").touch()
    assert shared_home.sees(tmp_path / "there")
    assert not shared_home.sees(tmp_path / "elsewhere")
