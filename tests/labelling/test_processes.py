"""Labels that several processes make, and that are killed."""

import os
import signal
import sys
import textwrap

import pytest

from labelling import files
from processes import NETWORK, finish, launch, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
FORMS = "coco,yolo,voc,label-studio,csv,masks,wsol"


@pytest.fixture(scope="module")
def command(folder, tmp_path_factory):
    network = tmp_path_factory.mktemp("network") / "slow.py"
    network.write_text(textwrap.dedent(NETWORK))
    return [
        *("-m", "looktwice", "label", str(folder), "--layout", "pictures", "--model", f"{network}:Slow"),
        *("--method", "gradient", "--batch-size", "1", "--workers", "1", "--form", FORMS, "--pictures"),
    ]


@pytest.fixture(scope="module")
def unkilled(command, tmp_path_factory):
    output = tmp_path_factory.mktemp("unkilled") / "labels"
    finish(launch(command, output))
    assert {"coco.json", "yolo", "voc", "label-studio.json", "labels.csv", "masks", "wsol", "pictures"} <= {
        entry.name for entry in output.iterdir()
    }
    return output


def test_killed_at_random_moments_and_started_again_the_files_are_the_same(command, unkilled, tmp_path):
    output = tmp_path / "labels"
    for parts, whole_group in ((1, True), (6, False), (13, True)):
        process = launch(command, output)
        wait_for(parts, output, process, folder="parts")
        # Without its parent a worker writes what it has or nothing, and leaves.
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)  # ends when the last worker has let go of the pipe
    finish(launch(command, output))
    assert files(output) == files(unkilled)


@pytest.mark.slow
def test_two_processes_of_torchrun_write_the_same_files(command, unkilled, tmp_path):
    output = tmp_path / "labels"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    finish(launch(command, output, launcher=launcher))
    assert files(output) == files(unkilled)
