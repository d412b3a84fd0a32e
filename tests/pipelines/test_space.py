"""Search spaces: what a sweep may sample, and what is said about a space that is wrong."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

import labs
from labs.core.errors import BadInput
from pipelines.tuning.space import Space, own_space, read_space

optuna.logging.set_verbosity(optuna.logging.ERROR)
CHOICE = {"type": "choice", "values": ["sgd", "adamw"]}
DECAY = {"type": "loguniform", "low": 1e-5, "high": 1e-1, "when": {"optimizer": "adamw"}}


def space(written: dict[str, Any], **fixed: Any) -> Space:
    return Space(labs.get("regression"), written, "simple", "tiny", fixed)


def samples(found: Space, count: int = 40) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [found.sample(study.ask()) for _ in range(count)]


@pytest.mark.parametrize("name", labs.names())
def test_every_labs_own_space_gives_configs_that_the_lab_takes(name: str) -> None:
    lab = labs.get(name)
    for preset in lab.presets:
        for fields in samples(Space(lab, own_space(lab, "small"), preset, "small", {})):
            lab.resolve(preset, "small", fields)


def test_what_a_size_sets_is_not_searched_at_that_size() -> None:
    lab = labs.get("cnn")
    assert "epochs" in own_space(lab, "course")
    assert not set(own_space(lab, "tiny")) & set(lab.sizes["tiny"])


def test_a_conditional_field_is_sampled_only_where_its_condition_holds() -> None:
    found = samples(space({"weight_decay": DECAY, "optimizer": CHOICE}))
    assert {fields["optimizer"] for fields in found} == {"sgd", "adamw"}
    assert all(("weight_decay" in fields) == (fields["optimizer"] == "adamw") for fields in found)


def test_a_condition_on_a_field_that_is_not_searched_looks_at_the_config() -> None:
    assert all("weight_decay" in fields for fields in samples(space({"weight_decay": DECAY}, optimizer="adamw"), 3))
    with_lr = {"weight_decay": DECAY, "lr": {"type": "uniform", "low": 0.1, "high": 0.2}}
    assert all("weight_decay" not in fields for fields in samples(space(with_lr, optimizer="sgd"), 3))


def test_values_lie_within_their_ranges_and_on_their_steps() -> None:
    written = {
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "dropout": {"type": "quniform", "low": 0.1, "high": 0.4, "q": 0.1},
        "batch_size": {"type": "randint", "low": 3, "high": 5},
        "hidden": {"type": "choice", "values": [[16, 8], [32]]},
    }
    found = samples(space(written))
    assert all(1e-4 <= fields["lr"] <= 1e-2 for fields in found)
    assert {fields["dropout"] for fields in found} == {0.1, 0.2, 0.3, 0.4}
    assert {fields["batch_size"] for fields in found} == {3, 4}
    assert {tuple(fields["hidden"]) for fields in found} == {(16, 8), (32,)}


def test_a_grid_has_each_combination_once_and_no_field_without_its_condition() -> None:
    decay = {"type": "choice", "values": [0.1, 0.2], "when": {"optimizer": "adamw"}}
    assert space({"optimizer": CHOICE, "weight_decay": decay}).grid() == [
        {"optimizer": "sgd"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.2},
    ]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"rate": CHOICE}, "unknown field 'rate' of lab regression"),
    "no type": ({"lr": {"low": 1, "high": 2}}, "field 'lr': must have a 'type', one of choice, uniform"),
    "unknown type": (
        {"lr": {"type": "normal"}},
        "unknown type 'normal': did you mean 'uniform'? valid choices are choice, uniform",
    ),
    "unknown key": ({"lr": {"type": "uniform", "low": 1, "high": 2, "max": 3}}, "unknown field 'max'"),
    "missing key": ({"lr": {"type": "uniform", "low": 1}}, "field 'high'"),
    "upside down": ({"lr": {"type": "uniform", "low": 2, "high": 1}}, "low 2 must be below high 1"),
    "log of zero": ({"lr": {"type": "loguniform", "low": 0, "high": 1}}, "field 'low' is 0"),
    "no step": ({"lr": {"type": "quniform", "low": 0.1, "high": 0.2, "q": 0.5}}, "no multiple of q 0.5"),
    "no value": ({"lr": {"type": "choice", "values": []}}, "field 'values'"),
    "value refused": ({"optimizer": {"type": "choice", "values": ["adam"]}}, "field 'optimizer' is 'adam'"),
    "range refused": ({"dropout": {"type": "uniform", "low": 0.5, "high": 1.5}}, "field 'dropout' is 1.5"),
    "unknown condition": ({"lr": {**DECAY, "when": {"optimiser": "sgd"}}}, "unknown field 'optimiser'"),
    "circle": (
        {"lr": {**DECAY, "when": {"weight_decay": 1}}, "weight_decay": {**DECAY, "when": {"lr": 1}}},
        "conditions in a circle",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_space_is_refused_with_its_field_and_what_would_be_right(case: str) -> None:
    written, sentence = WRONG[case]
    with pytest.raises(BadInput) as error:
        space(written)
    assert sentence in str(error.value)


def test_a_grid_of_a_range_is_refused_and_says_how_to_give_values() -> None:
    with pytest.raises(BadInput, match=r"field 'lr': a grid has choices only, this is loguniform; .*--fix lr="):
        space({"lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2}}).grid()


def test_a_file_that_is_no_space_is_named(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    with pytest.raises(BadInput, match=r"space\.yaml does not exist"):
        read_space(file)
    file.write_text("[1")
    with pytest.raises(BadInput, match=r"space\.yaml is not YAML"):
        read_space(file)
    file.write_text(yaml.safe_dump({"lr": CHOICE}))
    assert read_space(file) == {"lr": CHOICE}
