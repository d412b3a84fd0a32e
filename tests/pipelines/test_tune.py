"""`labs tune`: trials in reused processes, the best of them in MLflow and in a YAML file, and nothing left behind."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import yaml

from labs.core import events
from pipelines import fetched
from pipelines.error_file import has_error
from pipelines.system_load import SYSTEM
from tests.conftest import Said

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
REGRESSION = ("regression", "--preset", "strong", "--size", "tiny")
ONE_PROCESS = ("--concurrent", "1")
"""For sweeps whose trials are so short that a second process would cost more than it saves."""


@pytest.fixture(scope="module")
def style_before() -> dict[str, Any]:
    """How matplotlib draws before the module's sweeps."""
    matplotlib.use("Agg")
    return dict(matplotlib.rcParams)


@pytest.fixture(scope="module")
def swept(style_before: dict[str, Any], ray_session: None, module_cli: Cli) -> Callable[..., Any]:
    """Runs `labs ... --json` in one home, where a sweep of eight trials has been run."""

    def labs(*arguments: str) -> Any:
        said = module_cli(*arguments, "--json")
        assert said.code == 0, said.err
        return said.json

    labs("tune", *REGRESSION, "--trials", "8")
    return labs


@pytest.fixture
def sweep(swept: Callable[..., Any]) -> Any:
    """The sweep's document: of the same command again, which does nothing."""
    return swept("tune", *REGRESSION, "--trials", "8")


def runs_of(folder: str) -> list[Any]:
    """The MLflow runs of a sweep's store."""
    from pipelines.tracking.writer import Store, search

    store = Store(Path(folder).parents[1], None)
    return search(store.client(), store.experiment)


def nothing_is_left(folder: str) -> bool:
    """Whether no CPU of the cluster is held, and no placement group and no file of Ray Tune is left after a sweep."""
    import ray
    from ray.util.placement_group import placement_group_table

    deadline = time.monotonic() + 10  # the cluster's own bookkeeping
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < deadline:
        time.sleep(0.1)
    groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    busy = ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]
    return not busy and not groups and not (Path(folder) / "tune").exists()


def test_the_best_trial_is_the_best_of_those_that_came_to_their_end(sweep: Any) -> None:
    ended = [trial["value"] for trial in sweep["trials"] if trial["status"] == "FINISHED"]
    assert len(sweep["trials"]) == 8
    assert sweep["best"]["value"] == min(value for value in ended if value is not None)  # None where one diverged


def test_mlflow_has_the_sweep_and_below_it_each_trial_with_params_curve_and_state(sweep: Any) -> None:
    runs = {run.info.run_id: run for run in runs_of(sweep["folder"])}
    below = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == sweep["run_id"]]
    assert {run.info.run_id for run in below} == {trial["run_id"] for trial in sweep["trials"]}
    assert len(runs) == 9
    for trial in sweep["trials"]:
        run = runs[trial["run_id"]]
        assert run.data.tags["labs.trial.state"] == trial["status"]
        assert {"lr", "hidden", "optimizer"} <= set(run.data.params)
        assert "val/mse" in run.data.metrics


def test_only_the_best_trial_has_seen_the_test_set_and_is_registered_as_a_model(sweep: Any) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{Path(sweep['folder']).parents[1] / 'mlflow.db'}"
    judged = [run.info.run_id for run in runs_of(sweep["folder"]) if run.data.tags.get("labs.trial")
              and "test/mse" in run.data.metrics]  # fmt: skip
    assert judged == [sweep["best"]["run_id"]]
    assert sweep["best"]["metrics"]["test/mse"] < sweep["best"]["metrics"]["test/trivial"]
    assert MlflowClient(uri).get_model_version_by_alias("labs-regression", "best").run_id == judged[0]


def test_the_best_config_trains_to_the_same_value_from_its_yaml_file(swept: Callable[..., Any], sweep: Any) -> None:
    best = Path(sweep["folder"]) / "best.yaml"
    assert yaml.safe_load(best.read_text()) == sweep["best"]["config"]
    again = swept("train", *REGRESSION, "--config", best, "--workers", "0")
    assert again["metrics"]["best/value"] == sweep["best"]["value"]
    assert again["metrics"]["test/mse"] == sweep["best"]["metrics"]["test/mse"]


def test_a_sweep_starts_from_the_best_config_of_another_one_and_is_a_sweep_of_its_own(
    swept: Callable[..., Any], sweep: Any
) -> None:
    start = ("--from", Path(sweep["folder"]).name, "--search", "random")
    begun = swept("tune", *REGRESSION, "--trials", "1", *start)
    assert begun["trials"][0]["config"] == sweep["best"]["config"]
    assert begun["best"]["value"] == sweep["best"]["value"]
    again = swept("tune", *REGRESSION, "--trials", "1", *start)
    assert again["folder"] == begun["folder"] != sweep["folder"]


def test_the_figures_and_the_best_config_are_in_mlflow_and_no_style_is_left(
    style_before: dict[str, Any], sweep: Any
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path(sweep['folder']).parents[1] / 'mlflow.db'}")
    assert dict(matplotlib.rcParams) == style_before, "figures of later runs would look otherwise"
    figures = {Path(file.path).name for file in client.list_artifacts(sweep["run_id"], "figures")}
    assert figures == {"best-so-far.png", "parallel-coordinates.png", "learning-rate.png"}
    assert "best.yaml" in {file.path for file in client.list_artifacts(sweep["run_id"])}


def test_comparing_leaves_out_trials_but_the_best_unless_they_are_named(swept: Callable[..., Any], sweep: Any) -> None:
    for store in ((), ("--store", f"sqlite:///{Path(sweep['folder']).parents[1] / 'mlflow.db'}")):
        rows = swept("compare", *store)
        own = [row["run_ids"] for row in rows if row["sweep"] == Path(sweep["folder"]).name]
        assert own == [[sweep["best"]["run_id"]]]
        ids = {run_id for row in rows for run_id in row["run_ids"]}
        assert ids & {trial["run_id"] for trial in sweep["trials"]} == {sweep["best"]["run_id"]}
        other = next(trial for trial in sweep["trials"] if trial["run_id"] != sweep["best"]["run_id"])
        (row,) = swept("compare", other["run_id"], *store)
        assert row["run_ids"] == [other["run_id"]]


def test_a_job_s_sweep_is_fetched_with_what_its_best_trial_delivers(
    swept: Callable[..., Any], module_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABS_JOB", "job_1")
    folder = Path(swept("tune", *REGRESSION, "--trials", "8")["folder"]).name
    files = fetched.unpack(module_cli("jobs", "pack", "job_1").out, tmp_path)
    assert {tmp_path / folder / name for name in ("best.yaml", "result.json", "best/deliver/pred.csv")} <= set(files)


def test_more_trials_extend_the_sweep_and_keep_those_that_were_run(swept: Callable[..., Any], sweep: Any) -> None:
    longer = swept("tune", *REGRESSION, "--trials", "10", *ONE_PROCESS)
    assert longer["folder"] == sweep["folder"]
    assert longer["trials"][:8] == sweep["trials"]
    assert len(longer["trials"]) == 10
    assert nothing_is_left(longer["folder"])
    own = {trial["run_id"] for trial in longer["trials"]}
    tags_of = {run.info.run_id: run.data.tags for run in runs_of(longer["folder"])}
    marked = [id_ for id_ in own if tags_of[id_].get("labs.best") == "True"]
    assert marked == [longer["best"]["run_id"]]


def test_a_trial_that_diverges_is_a_bad_result_and_one_that_raises_is_recorded_with_its_error(
    labs_cli: Cli, tmp_path: Path
) -> None:
    """One that raises is not tried again: it would raise again. Each try leaves at least one sample of the load."""
    space = {"lr": {"type": "choice", "values": [0.001, 1e30]},
             "hidden": {"type": "choice", "values": [[8], [-5]]}}  # fmt: skip
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    grid = (*ONE_PROCESS, "--search", "grid", "--scheduler", "none", "--space", tmp_path / "space.yaml")
    said = labs_cli("tune", *REGRESSION, *grid, "--json")
    assert said.code == 0, said.err
    by_config = {(row["config"]["lr"], row["config"]["hidden"][0]): row for row in said.json["trials"]}
    assert len(said.json["trials"]) == len(by_config) == 4
    assert by_config[0.001, 8]["value"] == said.json["best"]["value"]
    assert (by_config[1e30, 8]["status"], by_config[1e30, 8]["value"]) == ("DIVERGED", None)
    assert by_config[0.001, -5]["status"] == "FAILED"
    assert "RuntimeError" in by_config[0.001, -5]["error"]
    tags = {run.info.run_id: run.data.tags for run in runs_of(said.json["folder"])}
    assert all(tags[trial["run_id"]]["labs.trial.state"] == trial["status"] for trial in said.json["trials"])
    failed = [trial for trial in Path(said.json["folder"]).glob("trials/*") if has_error(trial)]
    assert [len(events.read(trial / SYSTEM)) for trial in failed] == [1, 1]


def test_a_trial_reserves_what_the_scheduler_counts(tmp_path: Path) -> None:
    """With two CPUs a worker, a trial of `rl` took one more of Ray than was counted, and so did a tune node."""
    from cluster import capacity
    from pipelines.plan import plan
    from pipelines.spec import read_spec
    from pipelines.tuning.ray_tune import placement

    node = {"lab": "rl", "size": "tiny", "tune": {"trials": 1}, "resources": {"cpus_per_worker": 2}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"name": "t", "nodes": {"rl": node}}))
    nodes = read_spec(tmp_path / "spec.yaml")[1]
    cluster = capacity.Cluster({"n": capacity.Resources(8)})
    for planned in plan(tmp_path, nodes, cluster, dict.fromkeys(("rl", "rl-tune"), tmp_path)).values():
        assert placement(planned.job).required_resources["CPU"] == capacity.in_all(planned.bundles).cpus == 2.0


@pytest.mark.parametrize(
    ("lab", "options"),
    [
        ("regression", ["--workers", "2", "--fix", "epochs=4"]),
        (
            "classification",
            ["--preset", "boss", "--fix", "epochs=3", "--fix", "hidden=64", "--fix", "layers=1", *ONE_PROCESS],
        ),
        ("rl", ["--scheduler", "none", "--fix", "num_env_runners=1", *ONE_PROCESS]),
    ],
)
def test_each_lab_is_tuned_for_a_few_trials(labs_cli: Cli, lab: str, options: list[str]) -> None:
    """With one search after another; what makes a trial long is fixed."""
    said = labs_cli("tune", lab, "--size", "tiny", "--trials", "2", *options, "--json")
    assert said.code == 0, said.err
    assert [trial["status"] in ("FINISHED", "PRUNED") for trial in said.json["trials"]] == [True] * 2
    assert said.json["best"]["metrics"]
    assert nothing_is_left(said.json["folder"])


def test_a_lab_that_needs_another_is_tuned_with_its_run(
    labs_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs is trained first, as `course.yaml` has it, and once only."""
    (tmp_path / "course.yaml").write_text(
        "{name: course, nodes: {cnn: {lab: cnn, size: tiny, resources: {workers: 0}}}}"
    )
    monkeypatch.setattr("pipelines.spec.COURSE", tmp_path / "course.yaml")
    search = ("--search", "random", "--scheduler", "none", *ONE_PROCESS)
    tune = ("tune", "compression", "--size", "tiny", *search, "--json")
    said = labs_cli(*tune, "--trials", "1")
    assert said.code == 0, said.err
    longer = labs_cli(*tune, "--trials", "2")
    assert [trial["status"] for trial in longer.json["trials"]] == ["FINISHED"] * 2
    assert longer.json["folder"] == said.json["folder"]
    assert "pipeline tune-compression" in longer.err
    assert "has already finished" in longer.err
    assert len(list(Path(said.json["folder"]).parents[1].glob("runs/cnn-*"))) == 1
    assert (Path(said.json["folder"]) / "trials/0/teacher/weights.safetensors").exists()


def test_a_lab_with_two_goals_gets_the_configs_that_no_other_beats_in_both(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labs.core.heading import Metric
    from labs.lifelong import lesson as lifelong

    monkeypatch.setattr(lifelong, "LAB", replace(lifelong.LAB, second=Metric("forgetting", "min")))
    options = ("--trials", "5", "--scheduler", "none", *ONE_PROCESS)
    said = labs_cli("tune", "lifelong", "--size", "tiny", *options, "--json")
    assert said.code == 0, said.err
    values = {row["number"]: (-row["values"]["accuracy"], row["values"]["forgetting"]) for row in said.json["trials"]}
    beaten = {a for a, x in values.items() for y in values.values() if x != y and y[0] <= x[0] and y[1] <= x[1]}
    assert set(said.json["front"]) == set(values) - beaten
    assert said.json["best"]["number"] in said.json["front"]
    folder = Path(said.json["folder"])
    assert (folder / "figures" / "pareto-front.png").exists()
    assert {file.name for file in (folder / "files").iterdir()} == {f"front-{n}.yaml" for n in said.json["front"]}


def test_a_tune_node_gets_what_the_node_needs(labs_cli: Cli, tmp_path: Path) -> None:
    bare = {"size": "tiny", "resources": {"workers": 0}}
    student = {"lab": "compression", "tune": {"trials": 1, "seed": 4}, "needs": {"teacher": "cnn"}}
    nodes = {"cnn": {"lab": "cnn", **bare, "seeds": [3, 4]}, "student": {**student, **bare, "seeds": [3]}}
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump({"name": "tuned", "nodes": nodes}))
    said = labs_cli("pipeline", "run", spec, "--json")
    assert said.code == 0, said.err
    folders = {row["name"]: Path(row["folder"]) for row in said.json["nodes"]}
    weights = {name: (folder / "weights.safetensors").read_bytes() for name, folder in folders.items() if "cnn" in name}
    trial = folders["student-tune"] / "trials/0"
    assert (trial / "teacher/weights.safetensors").read_bytes() == weights["cnn-s4"]
    assert (folders["student-s3"] / "teacher/weights.safetensors").read_bytes() == weights["cnn-s3"]


def test_a_tune_node_is_tuned_first_and_then_trained_with_its_best_config(
    labs_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.show.display.LINE_EVERY_S", 0.0)
    node = {"lab": "regression", "preset": "strong", "size": "tiny", "tune": {"trials": 3, "concurrent": 1},
            "seeds": [1], "resources": {"workers": 0}}  # fmt: skip
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump({"name": "tuned", "nodes": {"table": node}}))
    said = labs_cli("pipeline", "run", spec, "--json")
    assert said.code == 0, said.err
    assert [row["name"] for row in said.json["nodes"]] == ["table-tune", "table-s1"]
    assert re.search(r"table-tune: RUNNING  trial [123]/3  val/mse", said.err)
    folders = [Path(row["folder"]) for row in said.json["nodes"]]
    best = yaml.safe_load((folders[0] / "best.yaml").read_text())
    config = json.loads((folders[1] / "config.json").read_text())
    assert {name: config[name] for name in best} == best
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs_of(str(folders[0]))}
    assert {parents[row["run_id"]] for row in said.json["nodes"]} == {said.json["run_id"]}
    again = labs_cli("pipeline", "run", spec, "--json")
    assert "has already finished" in again.err
    assert [row["cached"] for row in labs_cli("pipeline", "plan", spec, "--json").json["nodes"]] == [True] * 2
