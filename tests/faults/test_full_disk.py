"""A disk that fills up is named, and with more room the same command ends as if undisturbed.

The disk is a real one, of a drawn size, in a mount namespace of its own.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.namespace import NAMESPACE, can_mount
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import TRAIN, WAIT_S, without_times

pytestmark = pytest.mark.slow
SCRIPT = """
mount -t tmpfs -o size=$1k none "$2" || exit 77
shift
export LABS_HOME="$1/home"
shift
"$@" > "$OUT/small.json" 2> "$OUT/small.err"; echo $? > "$OUT/small.code"
mount -o remount,size=1g "$DISK"
exec "$@" > "$OUT/large.json" 2> "$OUT/large.err"
"""


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_full_disk_is_named_and_with_more_room_nothing_is_lost(
    undisturbed: dict[str, float], tmp_path: Path, seed: int
) -> None:
    kilobytes, disk = random.Random(seed).randint(50, 3000), tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "pipelines.cli", *TRAIN, "--workers", "0"]
    done = subprocess.run(
        [
            *NAMESPACE,
            "env",
            f"OUT={tmp_path}",
            f"DISK={disk}",
            "sh",
            "-c",
            SCRIPT,
            "sh",
            str(kilobytes),
            disk,
            *command,
        ],
        timeout=WAIT_S,
    )
    said, code = (tmp_path / "small.err").read_text(), (tmp_path / "small.code").read_text().strip()
    assert code in ("0", "1", "2"), said  # 0 where the store alone found no room: it is a mirror, and can wait
    assert "Traceback" not in said
    assert "No space left on device" in said or "disk is full" in said
    assert done.returncode == 0, (tmp_path / "large.err").read_text()
    assert without_times(json.loads((tmp_path / "large.json").read_text())["metrics"]) == undisturbed


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
def test_a_read_only_home_is_named(tmp_path: Path) -> None:
    script = 'mkdir "$1/home" && mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; shift; exec "$@"'
    command = [sys.executable, "-m", "pipelines.cli", *TRAIN, "--workers", "0", "--home", tmp_path / "home"]
    said = subprocess.run(
        [*NAMESPACE, "sh", "-c", script, "sh", tmp_path, *command], capture_output=True, text=True, timeout=WAIT_S
    )
    assert said.returncode == 1, said.stderr
    assert f"{tmp_path}/home/" in said.stderr
    assert "Read-only file system: name a folder that can be written" in said.stderr
    assert "Traceback" not in said.stderr
