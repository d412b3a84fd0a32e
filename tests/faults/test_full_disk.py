"""A disk that fills up is named, and with more room the same command ends as if undisturbed.

The disk is a real one, of a drawn size, in a mount namespace of its own.
"""

import json
import multiprocessing
import os
import random
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.faults.namespace import can_mount, enter_namespace
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import TRAIN, WAIT_S, Start, without_times
from tests.forked import labs_command, server

pytestmark = pytest.mark.slow


def train_on_small_and_on_large_disk(kilobytes: int, disk: Path, folder: Path) -> None:
    """What a process does: the command, and again with more room. What it prints and returns goes to the folder."""
    enter_namespace()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", disk], check=True)
    environment = {**os.environ, "LABS_HOME": str(disk / "home")}
    for name in ("small", "large"):
        (folder / name).mkdir()
        arguments = ([*TRAIN, "--workers", "0"], environment, folder / name)
        process = multiprocessing.get_context("fork").Process(target=labs_command, args=arguments)
        process.start()
        process.join()
        (folder / name / "code").write_text(str(process.exitcode))
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_full_disk_is_named_and_with_more_room_nothing_is_lost(
    undisturbed: dict[str, float], tmp_path: Path, seed: int
) -> None:
    kilobytes, disk = random.Random(seed).randint(50, 3000), tmp_path / "disk"
    disk.mkdir()
    process = server().Process(target=train_on_small_and_on_large_disk, args=(kilobytes, disk, tmp_path))
    process.start()
    process.join(WAIT_S)
    said, code = (tmp_path / "small/err").read_text(), (tmp_path / "small/code").read_text()
    assert code in ("0", "1", "2"), said  # 0 where the store alone found no room: it is a mirror, and can wait
    assert "Traceback" not in said
    assert "No space left on device" in said or "disk is full" in said
    assert (tmp_path / "large/code").read_text() == "0", (tmp_path / "large/err").read_text()
    assert without_times(json.loads((tmp_path / "large/out").read_text())["metrics"]) == undisturbed


def mount_read_only(folder: Path) -> None:
    enter_namespace()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
def test_a_read_only_home_is_named(labs_process: Start, home: Path) -> None:
    home.mkdir()
    process = labs_process(*TRAIN, "--workers", "0", before=partial(mount_read_only, home))
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1, said
    assert f"{home}/" in said
    assert "Read-only file system: name a folder that can be written" in said
    assert "Traceback" not in said
