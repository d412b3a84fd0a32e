"""What homework 9 explains: the classifier and the question-answering model, of other runs or of the data folder."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from labs.cnn import lesson as cnn
from labs.core.listing import is_in
from labs.core.run import Run
from labs.core.weights import load_shape
from labs.explain import course_classifier, texts

CLASSIFIER, READER = "classifier", "reader"
"""Roles of the runs that this lab needs."""


def provided(config: Any, source: Path | None) -> Collection[str]:
    """No classifier is trained where the data folder has the course's, and no reader where it has no texts."""
    roles = [CLASSIFIER] if course_classifier.GIVEN.are_in(source) else []
    return roles if source is None or is_in(source, texts.FILE) else [*roles, READER]


def classifier_of(run: Run) -> tuple[cnn.Classifier, int]:
    """The classifier, the course's or of the run that this one needs, and its number of classes."""
    own = run.data_dir / course_classifier.GIVEN.packed
    if not own.exists():
        source = run.upstream(CLASSIFIER)
        return cnn.load(source), load_shape(source)["classes"]
    weights = load_file(own)
    width, classes = course_classifier.sizes(weights)
    fields = {"network": "deep", "width": width, "image_size": course_classifier.SIDE}
    classifier = cnn.Classifier(cnn.CnnConfig.model_validate(fields), classes)
    classifier.members[0].load_state_dict(weights)
    return classifier.eval(), classes
