"""The teacher of homework 13: a run of the cnn lab or, as a teaching assistant, of this one; or the course's own, where
the data have it."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from labs.cnn import lesson as cnn
from labs.compression import course_teacher
from labs.compression.config import CompressionConfig, build
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.core.weights import SHAPE, WEIGHTS, load_shape, load_weights

TEACHER = "teacher"
"""Role of the run that this lab needs, and the folder for a copy of it, as the report describes the teacher as well."""


def provided(config: Any, source: Path | None) -> Collection[str]:
    """No run of the cnn lab is needed where the data folder has the course's teacher."""
    return (TEACHER,) if course_teacher.GIVEN.are_in(source) else ()


def load_teacher(run: Run, classes: int) -> nn.Module:
    """The teacher in eval mode, without gradients. What `load_copy` needs is copied to the run's folder, so that the
    report can be written from this folder alone.

    Raises:
        BadInput: it was trained on another number of classes.
    """
    own = run.data_dir / course_teacher.GIVEN.packed
    if own.exists():
        copied = {own: course_teacher.GIVEN.packed}
    else:
        source = run.upstream(TEACHER)
        teacher_classes = load_shape(source)["classes"]
        if teacher_classes != classes:
            raise BadInput(f"the teacher in {source} has {teacher_classes} classes, but the data have {classes}")
        copied = {source / name: name for name in ("config.json", SHAPE, WEIGHTS)}
    if run.rank == 0:
        for path, name in copied.items():
            shutil.copyfile(path, run.file(f"{TEACHER}/{name}"))
    return _load(next(iter(copied)).parent, classes).requires_grad_(False).to(run.device)


def load_copy(folder: Path) -> nn.Module:
    """The teacher of a compression run's folder, in eval mode, on the CPU."""
    return _load(folder / TEACHER, load_shape(folder)["classes"])


def _load(folder: Path, classes: int) -> nn.Module:
    file = folder / course_teacher.GIVEN.packed
    if file.exists():
        return course_teacher.load(file, classes)
    settings = json.loads((folder / "config.json").read_text())
    if settings.keys() != CompressionConfig.model_fields.keys():  # those of the other lab
        return cnn.load(folder)
    return load_weights(folder, build(CompressionConfig.model_validate(settings), classes))
