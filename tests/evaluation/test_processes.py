"""Several processes, devices and kills."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from evaluations import assert_same, run_on
from looktwice.datasets import Dataset, Sample, load_dataset
from looktwice.errors import RunError
from looktwice.evaluation.processes import Shard
from looktwice.models import load_model
from looktwice.runs import folder as runs
from looktwice.runs.manifest import Manifest
from processes import NETWORK, finish, kill_tree, launch, wait_for


def test_shares_come_from_the_environment():
    assert Shard.from_environment({}) == Shard(0, 1)
    assert Shard.from_environment({"RANK": "2", "WORLD_SIZE": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Shard(
        2, 3
    )
    assert Shard.from_environment({"SLURM_PROCID": "7", "SLURM_NTASKS": "8"}) == Shard(7, 8)
    for rank, world in (("3", "3"), ("-1", "2"), ("a", "2")):
        with pytest.raises(RunError, match=f"RANK={rank} and WORLD_SIZE={world}"):
            Shard.from_environment({"RANK": rank, "WORLD_SIZE": world})


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    file = tmp_path_factory.mktemp("network") / "slow.py"
    file.write_text(textwrap.dedent(NETWORK))
    return f"{file}:Slow"


@pytest.fixture(scope="module")
def command(folder, network):
    return [
        *("-m", "looktwice", "evaluate", str(folder), "--layout", "csv", "--model", network),
        *("--methods", "gradient", "--batch-size", "1", "--workers", "1", "--squash"),
    ]


@pytest.fixture(scope="module")
def unkilled(dataset, network, tmp_path_factory):
    run = tmp_path_factory.mktemp("unkilled") / "run"
    run_on(dataset, run, model=load_model(network, squash=True), methods={"gradient": {}}, batch_size=1)
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_killed_at_random_moments_and_started_again(command, unkilled, tmp_path):
    run = tmp_path / "run"
    for parts, whole_group in ((1, True), (6, False), (13, True)):
        process = launch(command, run)
        wait_for(parts, run, process)
        # Without its parent a worker writes what it has or nothing, and leaves.
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        assert not (run / "summary.json").exists()
        process.communicate(timeout=20)  # ends when the last worker has let go of the pipe
    told = finish(launch(command, run))
    assert told.rstrip().endswith(str(run / "summary.json"))
    assert_same(run, unkilled)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_one_then_three_then_two_processes(command, unkilled, tmp_path):
    run = tmp_path / "run"

    def torchrun(processes):
        launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
        return launch(command, run, launcher=launcher)

    one = launch(command, run)
    wait_for(2, run, one)
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()
    three = torchrun(3)
    wait_for(9, run, three)
    kill_tree(three.pid)
    three.communicate()
    finish(torchrun(2))
    assert_same(run, unkilled)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_memory_stays_flat_over_thousands_of_images(folder, tmp_path):
    """Of this process and its workers, after the first fifth."""
    kept = load_dataset(folder, "csv").samples
    samples = tuple(
        Sample(f"{n:05d}", kept[n % 22].image, kept[n % 22].labels, kept[n % 22].boxes) for n in range(4000)
    )
    sizes = []

    def resident(process):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def progress(done, total):
        processes = [os.getpid()]
        processes += map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
        sizes.append((done, sum(map(resident, processes))))

    run_on(Dataset(samples), tmp_path / "run", methods={"gradient": {}}, workers=2, batch_size=16, progress=progress)
    late = [size for done, size in sizes if done > 800]
    tenth = len(late) // 10
    growth = np.median(late[-tenth:]) - np.median(late[:tenth])
    assert growth < 15, f"{growth:.0f} MiB more after 4,000 images than after 800"


def test_the_folder_may_be_begun_by_several_at_once(tmp_path):
    """Whoever comes second finds the first one's manifest, and agrees or is refused."""
    facts = {"model": {"name": "net"}, "preprocessing": {"resize": 8, "crop": 8}, "images": {"seed": 0}}
    one = {"about": {"command": "first"}, "run": facts}
    runs.open_run(tmp_path / "run", Manifest.from_json(one))
    runs.open_run(tmp_path / "run", Manifest.from_json(one | {"about": {"command": "second"}}))
    assert runs.read_manifest(tmp_path / "run").about.told == {"command": "first"}
    with pytest.raises(RunError, match=r"seed was 0, is 1; name another --output, or repeat .* first"):
        runs.open_run(tmp_path / "run", Manifest.from_json(one | {"run": facts | {"images": {"seed": 1}}}))
    assert not list((tmp_path / "run").glob(".*"))
