"""The reinforcement-learning lab, run as the pipelines run it: `lab.fit` on a run's folder."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import ray
import torch
from gymnasium.utils.env_checker import check_env

import labs
from labs.core import events
from labs.core.errors import BadInput
from labs.core.run import STOP, Interrupted, Run
from labs.rl import action_list, lunar_lander
from labs.rl.policies import Policy, policy, sampled
from pipelines.ray_train import end_idle
from tests.labs.folders import fault_of_submission
from tests.labs.test_reports import check_report

LAB = labs.get("rl")
JUDGE = """
import json, sys
import gymnasium, numpy
environment, returns = gymnasium.make("LunarLander-v3"), []
environment.reset(seed=543)
for episode in numpy.load(sys.argv[1], allow_pickle=True).tolist():
    steps = [environment.step(action) for action in episode]
    assert [step[2] or step[3] for step in steps] == [False] * (len(steps) - 1) + [True]
    returns.append(sum(float(step[1]) for step in steps))
    environment.reset()
print(json.dumps(returns))
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread(ray_session: None) -> Iterator[None]:
    end_idle()  # the tests ask for CPUs themselves
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fit(folder: Path, preset: str = "boss", *, test: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train a run; with `test`, deliver and score it as well, which takes as long again."""
    LAB.fit(LAB.resolve(preset, "tiny", overrides), Run(folder, folder), test=test)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def curve(folder: Path) -> list[dict[str, float]]:
    """The metrics that each epoch logged, without the times."""
    epochs = [event["metrics"] for event in events.read(folder) if "train/loss" in event["metrics"]]
    return [{k: v for k, v in epoch.items() if not k.startswith(("time/", "perf/"))} for epoch in epochs]


@pytest.fixture(scope="module")
def finished(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    fit(folder, test=True)
    return folder


def test_a_run_finishes_with_a_submission_that_the_judge_takes(finished: Path) -> None:
    metrics = json.loads((finished / "result.json").read_text())["metrics"]
    assert {
        "test/return",
        "test/return_20",
        "test/greedy_20",
        "test/sampled_20",
        "test/trivial",
        "val/return",
        "train/env_steps",
    } <= set(metrics)
    assert LAB.check_submission(finished / "deliver" / "Action_List.json") == []
    assert (finished / "deliver" / "Action_List.npy").stat().st_size < 2_000_000
    assert (finished / "deliver" / "landing.gif").read_bytes().startswith(b"GIF8")
    check_report(LAB, finished)


@pytest.mark.parametrize("preset", ["boss", "dqn"])
def test_the_actor_that_is_kept_is_the_one_that_was_measured(tmp_path: Path, preset: str) -> None:
    best = fit(tmp_path, preset=preset, lr=0.02, num_env_runners=0)["metrics"]["best/value"]
    selection = "greedy" if preset == "dqn" else "sampled"
    returns = lunar_lander.returns(policy(LAB.load(tmp_path), selection), lunar_lander.VALIDATION_SEEDS)
    assert np.mean(returns) == pytest.approx(best)
    assert best == max(epoch["val/return"] for epoch in curve(tmp_path))


def test_the_delivered_actions_repeat_their_returns_in_a_process_of_their_own(finished: Path) -> None:
    """As the course's judge replays them: with gymnasium alone, and nothing of this program."""
    actions = finished / "deliver" / "Action_List.npy"
    replayed = subprocess.run(
        [sys.executable, "-c", JUDGE, actions], capture_output=True, text=True, timeout=120, check=True, cwd="/"
    )
    returns, fault = lunar_lander.replay(json.loads((finished / "deliver" / "Action_List.json").read_text()))
    assert fault == ""
    assert json.loads(replayed.stdout) == returns


def test_the_environment_is_one_of_gymnasium_s() -> None:
    environment, observation = lunar_lander.judge_environment()
    check_env(environment.unwrapped, skip_render_check=True)
    assert observation.shape == (lunar_lander.OBSERVATIONS,)
    assert environment.action_space == gymnasium.spaces.Discrete(lunar_lander.ACTIONS)


def test_the_npy_has_the_same_actions_as_the_json(finished: Path) -> None:
    # Our own file of a moment ago is the one pickle that may be opened.
    actions = np.load(finished / "deliver" / "Action_List.npy", allow_pickle=True)
    assert (actions.shape, actions.dtype) == ((5,), np.dtype(object))
    assert list(actions) == json.loads((finished / "deliver" / "Action_List.json").read_text())


def test_the_delivered_episodes_are_those_of_the_loaded_actor(finished: Path) -> None:
    episodes = json.loads((finished / "deliver" / "Action_List.json").read_text())
    actor = LAB.load(finished)
    assert lunar_lander.test_episodes(policy(actor, lunar_lander.better_selection(actor))) == episodes
    totals, fault = lunar_lander.replay(episodes)
    assert (len(totals), fault) == (5, "")
    assert LAB.score(finished / "deliver", finished)["test/return"] == np.mean(totals)


def test_the_loaded_actor_predicts_logits(finished: Path) -> None:
    observations = LAB.example(finished)
    logits = LAB.predict(LAB.load(finished), observations)
    assert (observations.shape, observations.dtype) == ((3, 8), np.float32)
    assert (logits.shape, logits.dtype) == ((3, 4), np.float32)


def test_rllib_writes_no_folder_of_results_into_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "ray_results"
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(results))
    fit(tmp_path / "run", iterations=1, num_env_runners=0)
    assert not results.exists()
    assert (tmp_path / "run" / "rllib").is_dir()


@pytest.mark.parametrize("preset", ["simple", "medium", "strong", "a2c", "dqn"])
def test_each_preset_but_the_boss_delivers_what_the_judge_takes_and_repeats_its_curve(
    tmp_path: Path, preset: str
) -> None:
    for name in ("one", "other"):
        fit(tmp_path / name, preset, test=name == "one", iterations=2, num_env_runners=0)
    assert LAB.check_submission(tmp_path / "one/deliver/Action_List.json") == []
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "other"))
    assert first == second
    assert curve(tmp_path / "one") == curve(tmp_path / "other")


def test_sampled_actions_follow_the_actors_probabilities_and_repeat_with_a_seed() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    observations = np.zeros((20_000, 8), np.float32)
    actor = torch.nn.Linear(8, 4)
    torch.nn.init.zeros_(actor.weight)
    actor.bias.data = logits
    actions = sampled(actor, seed=0)(observations)
    assert np.bincount(actions, minlength=4) / len(actions) == pytest.approx(logits.softmax(0).numpy(), abs=0.01)
    assert np.array_equal(sampled(actor, seed=0)(observations), actions)
    assert not np.array_equal(sampled(actor, seed=1)(observations), actions)


@pytest.mark.parametrize(("deterministic", "selection"), [(False, "sampled"), (True, "greedy")])
def test_the_action_selection_with_the_higher_return_is_chosen(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool, selection: str
) -> None:
    """In place of episodes, a return that is high either for one action alone or for several."""

    def returns(acting: Policy, seeds: range) -> list[float]:
        actions = acting(np.zeros((1000, 8), np.float32))
        same = len(set(actions.tolist())) == 1
        return [10.0 if same == deterministic else 0.0] * len(seeds)

    monkeypatch.setattr(lunar_lander, "returns", returns)
    assert lunar_lander.better_selection(torch.nn.Linear(8, 4)) == selection


def test_another_seed_gives_another_curve(tmp_path: Path) -> None:
    config = LAB.resolve("boss", "tiny", {"iterations": 1, "num_env_runners": 0})
    for seed in 0, 1:
        LAB.train(config, Run(tmp_path / str(seed), tmp_path, seed=seed))
    assert curve(tmp_path / "0") != curve(tmp_path / "1")


def test_the_actor_is_validated_after_every_so_many_iterations(tmp_path: Path) -> None:
    """Three iterations in epochs of two: the second epoch is completed."""
    config = LAB.resolve("boss", "tiny", {"iterations": 3, "validate_every": 2, "num_env_runners": 0})
    LAB.train(config, Run(tmp_path, tmp_path))
    epochs = curve(tmp_path)
    assert [epoch["train/env_steps"] for epoch in epochs] == [2 * config.batch_size, 4 * config.batch_size]
    assert all("val/return" in epoch for epoch in epochs)


@pytest.mark.parametrize("preset", ["simple", "strong", "boss", "dqn"])
def test_a_stopped_run_continues_its_count_of_steps(tmp_path: Path, preset: str) -> None:
    (tmp_path / STOP).touch()
    with pytest.raises(Interrupted):
        fit(tmp_path, preset=preset, num_env_runners=0)
    (stopped,) = curve(tmp_path)
    (tmp_path / STOP).unlink()
    fit(tmp_path, preset=preset, num_env_runners=0)
    steps = [epoch["train/env_steps"] for epoch in curve(tmp_path)]
    assert steps[0] == stopped["train/env_steps"]
    assert len(steps) == 3
    assert all(1000 < after - before < 1100 for before, after in pairwise([0, *steps]))


@pytest.mark.parametrize("preset", ["strong", "boss", "dqn"])
def test_a_checkpoint_restores_the_learner_and_its_environment_runners(tmp_path: Path, preset: str) -> None:
    from labs.rl import rllib

    settings = rllib.algorithm_config(LAB.resolve(preset, "tiny", {"num_env_runners": 0}), seed=0, gpu=False)
    with rllib.running(settings, tmp_path) as algorithm:
        algorithm.train()
        learner: Any = rllib.LearnerState(algorithm)
        if preset == "dqn":
            learner.module.epsilon.fill_(0.25)
        torch.save(learner.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    fresh = rllib.algorithm_config(LAB.resolve(preset, "tiny", {"num_env_runners": 1}), seed=1, gpu=False)
    with rllib.running(fresh, tmp_path) as algorithm:
        learner = rllib.LearnerState(algorithm)
        learner.load_state_dict(saved)
        now = learner.state_dict()
        torch.testing.assert_close(now["optimizer"]["state"], saved["optimizer"]["state"], rtol=0, atol=0)
        torch.testing.assert_close(dict(now["module"]), dict(saved["module"]), rtol=0, atol=0)
        torch.testing.assert_close(now.get("replay_buffer"), saved.get("replay_buffer"), rtol=0, atol=0)
        assert ("replay_buffer" in now) == (preset == "dqn")
        actors = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: {name: value.tolist() for name, value in runner.module.state_dict().items()},
            local_env_runner=False,
        )
        expected = {name: saved["module"][name].tolist() for name in actors[0]}
        assert ("epsilon" in expected) == (preset == "dqn")
        assert actors == [expected]


def test_a_task_beside_its_two_environment_runners_gives_the_same_curve(finished: Path, tmp_path: Path) -> None:
    config = LAB.resolve("boss", "tiny")
    assert LAB.bundles(config) == [0.5, 0.5, 0.5]

    def host(folder: Path) -> None:  # nested, so that Ray sends it by value: workers can't import a test module
        torch.set_num_threads(1)
        labs.get("rl").fit(config, Run(folder, folder))

    ray.get(ray.remote(num_cpus=LAB.bundles(config)[0])(host).remote(tmp_path), timeout=120)
    assert curve(tmp_path) == curve(finished)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "expected JSON in UTF-8"),
        ('{"a": 1}', "expected a list of 5 episodes, found dict"),
        ("[[0], [1]]", "expected a list of 5 episodes, found a list of 2"),
        ("[[0], 1, [0], [0], [0]]", "episode 1: expected a list of actions, found int"),
        ("[[0], [0, 4], [0], [0], [0]]", "episode 1 action 1: expected 0, 1, 2 or 3, found 4"),
        ("[[true], [0], [0], [0], [0]]", "episode 0 action 0: expected 0, 1, 2 or 3, found True"),
        ("[[0.0], [0], [0], [0], [0]]", "episode 0 action 0: expected 0, 1, 2 or 3, found 0.0"),
        ("[[0], [0], [0], [0], [0]]", "episode 0 has not ended after its 1 actions"),
    ],
)
def test_a_faulty_submission_is_described(tmp_path: Path, text: str, message: str) -> None:
    fault = fault_of_submission(LAB, tmp_path, text)
    assert fault.startswith("Action_List.json")
    assert message in fault


def test_an_action_after_an_episodes_end_is_a_fault(finished: Path, tmp_path: Path) -> None:
    episodes = json.loads((finished / "deliver" / "Action_List.json").read_text())
    length = len(episodes[2])
    episodes[2].append(0)
    (tmp_path / "a.json").write_text(json.dumps(episodes))
    assert LAB.check_submission(tmp_path / "a.json") == [
        f"a.json: episode 2 ends after {length} actions, found {length + 1}, replayed in LunarLander-v3"
    ]


def object_array(lists: list[Any]) -> np.ndarray:
    """As the course's notebook makes one of lists of different lengths."""
    array = np.empty(len(lists), dtype=object)
    array[:] = lists
    return array


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_the_courses_npy_is_checked_like_the_json(finished: Path, tmp_path: Path, kind: Any) -> None:
    """The object array that numpy pickles, also with numpy's own numbers in its lists."""
    assert LAB.check_submission(finished / "deliver" / "Action_List.npy") == []
    episodes = [[kind(action) for action in (0, 1, 2)]] * 4 + [[kind(0)]]
    np.save(tmp_path / "a.npy", object_array(episodes), allow_pickle=True)
    (fault,) = LAB.check_submission(tmp_path / "a.npy")
    assert fault == "a.npy: episode 0 has not ended after its 3 actions, replayed in LunarLander-v3"


class Makes:
    """What makes a file when a pickle of it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda marker: object_array([[1]] * 4), "expected a list of 5 episodes, found a list of 4"),
        (lambda marker: object_array([[1]] * 4 + [[1.5]]), "episode 4 action 0: expected 0, 1, 2 or 3, found 1.5"),
        (
            lambda marker: object_array([[np.float64(1)]] * 5),
            "expected whole numbers as actions, found numbers of type",
        ),
        (lambda marker: object_array([[Makes(marker)]] * 5), "which is not read as it can run code"),
        (lambda marker: np.zeros((5, 3)), "episode 0 action 0: expected 0, 1, 2 or 3, found 0.0"),
        (lambda marker: np.zeros((5, 10**7, 0)), "found an array of shape (5, 10000000, 0)"),
        (lambda marker: np.array(5), "expected a list of 5 episodes, found int"),
    ],
)
def test_a_faulty_npy_is_described_and_no_code_in_it_run(tmp_path: Path, content: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", content(tmp_path / "marker"), allow_pickle=True)
    fault = fault_of_submission(LAB, tmp_path, (tmp_path / "a.npy").read_bytes())
    assert message in fault
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "pickled", [b"", b"\x80\x04Nr\xff\xff\xff\x7f.", b"\x80\x04]q\x00h\x00.", b"cposix\nsystem\n(Vtrue\ntR."]
)
def test_a_broken_or_hostile_pickle_is_described(tmp_path: Path, pickled: bytes) -> None:
    """Cut off; one that asks for gigabytes; a list in the place of an array; one that calls a function."""
    np.save(tmp_path / "a.npy", object_array([]), allow_pickle=True)
    header = (tmp_path / "a.npy").read_bytes()[:128]
    assert "Action_List.json" in fault_of_submission(LAB, tmp_path, header + pickled)


def test_a_minibatch_above_the_batch_is_refused() -> None:
    with pytest.raises(BadInput, match="minibatch_size 512 is above batch_size 256"):
        LAB.resolve("boss", "small", {"batch_size": 256, "minibatch_size": 512})


def test_space_names_fields_of_the_config() -> None:
    assert set(LAB.space()) <= set(LAB.config.model_fields)


@pytest.mark.parametrize("preset", LAB.presets)
def test_course_size_learns_on_two_steps_of_two_environments(tmp_path: Path, preset: str) -> None:
    course = LAB.resolve(preset, "course")
    small = {"iterations": 1, "batch_size": 4, "minibatch_size": 4, "num_env_runners": 0, "envs_per_runner": 2}
    LAB.train(LAB.config.model_validate({**course.model_dump(), **small}), Run(tmp_path, tmp_path))
    assert events.read(tmp_path)[-1]["metrics"]["train/env_steps"] >= 4


@pytest.mark.parametrize("kind", ["lists", "arrays", "numbers"])
def test_episodes_of_one_length_are_read_in_any_form_of_numpy_s(kind: str, tmp_path: Path) -> None:
    """As objects they are an array with two axes, whose shape was lost; an episode can be an array itself."""
    episodes = [[episode, 1, 2] for episode in range(5)]
    array = np.array(episodes, dtype=np.int64 if kind == "numbers" else object)
    if kind == "arrays":
        array = object_array([np.array(episode) for episode in episodes])
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert action_list.read(tmp_path / "a.npy") == episodes


def test_an_episode_within_a_list_is_no_episode(tmp_path: Path) -> None:
    """An array of shape (5, 1) of lists was taken, where the judge would find lists as actions."""
    array = np.empty((5, 1), dtype=object)
    for row in range(5):
        array[row, 0] = [0, 1]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    (fault,) = LAB.check_submission(tmp_path / "a.npy")
    assert "episode 0 action 0: expected 0, 1, 2 or 3, found [0, 1]" in fault
