"""Rows of another evaluation never pass as this one's, and no process goes on in a folder that is another's now."""

import json
import random
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from evaluations import METHODS, assert_same, colours, rows_of, run_on, summary_of
from looktwice.errors import RunError
from looktwice.evaluation.processes import Shard
from looktwice.runs import folder as folder_of_run
from looktwice.runs.folder import part_path, read_manifest
from looktwice.runs.saved_maps import read_maps


def other_network():
    """Another network: what was red for the first one is green for this one."""
    model = colours()
    with torch.no_grad():
        model.module.head.weight.copy_(model.module.head.weight.roll(1, 0))
    return model


@pytest.fixture(scope="module")
def others(dataset, tmp_path_factory):
    """What the other network finds."""
    run = tmp_path_factory.mktemp("others") / "run"
    run_on(dataset, run, model=other_network())
    return run


def test_a_manifest_removed_and_begun_anew_takes_no_old_row(dataset, undisturbed, others, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "manifest.json").unlink()
    run_on(dataset, run, model=other_network())
    assert_same(run, others)
    assert rows_of(run)["predicted"] != rows_of(undisturbed)["predicted"]


def test_the_old_summary_is_gone_as_soon_as_another_run_begins(dataset, undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "problems.txt").write_text("an old problem\n")
    (run / "manifest.json").unlink()
    status = run_on(dataset, run, model=other_network(), shard=Shard(0, 2))
    assert (status.summary, status.missing) == (None, 3)  # the parts that are another process's are old
    assert not (run / "summary.json").exists()
    assert not (run / "problems.txt").exists()
    with pytest.raises(RunError, match="is not finished"):
        run_on(dataset, tmp_path / "next", tune_on=str(run))


def test_several_processes_begin_anew_and_none_fails_for_the_other(dataset, undisturbed, others, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "manifest.json").unlink()
    run_on(dataset, run, model=other_network(), shard=Shard(0, 2))
    assert run_on(dataset, run, model=other_network(), shard=Shard(1, 2)).summary is not None
    assert_same(run, others)


def doubled(part):
    table = pq.read_table(part, partitioning=None)
    pq.write_table(pa.concat_tables([table, table]), part)


def cut(part):
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.slice(0, len(table) - 1), part)


def flip(part):
    content = bytearray(part.read_bytes())
    place = random.Random(0).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    part.write_bytes(content)


@pytest.mark.parametrize("damage", [doubled, cut, flip])
def test_a_part_that_is_not_as_it_was_written_is_redone(dataset, undisturbed, tmp_path, damage):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    before = part_path(run, 2).read_bytes()
    damage(part_path(run, 2))
    assert part_path(run, 2).read_bytes() != before
    run_on(dataset, run)
    assert_same(run, undisturbed)


def test_a_part_of_a_run_with_other_options_is_redone(dataset, undisturbed, tmp_path):
    run_on(dataset, tmp_path / "other", methods=METHODS | {"feedback": {"steps": 2, "blur": 0.03}})
    run = shutil.copytree(undisturbed, tmp_path / "run")
    shutil.copy(part_path(tmp_path / "other", 1), part_path(run, 1))
    run_on(dataset, run)
    assert_same(run, undisturbed)


def as_older(run):
    """Makes a run one that an older version wrote: its manifest and its parts do not tell whose they are."""
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["identity"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    for part in (run / "rows").iterdir():
        pq.write_table(pq.read_table(part, partitioning=None).replace_schema_metadata(None), part)
    return run


def test_a_run_of_an_older_version_goes_on_and_keeps_its_parts(dataset, undisturbed, tmp_path):
    run = as_older(shutil.copytree(undisturbed, tmp_path / "run"))
    part_path(run, 2).unlink()
    kept = {part: part.stat().st_mtime_ns for part in (run / "rows").iterdir()}
    run_on(dataset, run)
    assert_same(run, undisturbed)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert not read_manifest(run).has_identity


@pytest.mark.parametrize("damage", [doubled, cut])
def test_a_damaged_part_of_an_older_version_is_redone(dataset, undisturbed, tmp_path, damage):
    run = as_older(shutil.copytree(undisturbed, tmp_path / "run"))
    damage(part_path(run, 2))
    run_on(dataset, run)
    assert_same(run, undisturbed)


def test_an_older_part_with_other_options_is_redone(dataset, undisturbed, tmp_path):
    run_on(dataset, tmp_path / "other", methods=METHODS | {"feedback": {"steps": 2, "blur": 0.03}})
    run = as_older(shutil.copytree(undisturbed, tmp_path / "run"))
    shutil.copy(part_path(as_older(tmp_path / "other"), 1), part_path(run, 1))
    run_on(dataset, run)
    assert_same(run, undisturbed)


def test_an_older_part_is_no_part_of_a_run_of_this_version(dataset, undisturbed, tmp_path):
    """Its weights may be others: nothing in it tells."""
    older = as_older(shutil.copytree(undisturbed, tmp_path / "older"))
    run = shutil.copytree(older, tmp_path / "run")
    (run / "manifest.json").unlink()
    run_on(dataset, run, model=other_network())
    assert summary_of(run) != summary_of(undisturbed)


def test_what_a_run_writes_that_has_just_begun_is_not_taken_for_the_users_own(undisturbed, tmp_path, monkeypatch):
    run = tmp_path / "run"
    content = (undisturbed / "manifest.json").read_text()

    def begin_elsewhere(folder):
        """Another process begins the run, after this one has seen no manifest."""
        (folder / "manifest.json").write_text(content)
        (folder / "problems.txt").write_text("a problem\n")
        remove(folder)

    remove = folder_of_run._remove_leftovers
    monkeypatch.setattr(folder_of_run, "_remove_leftovers", begin_elsewhere)
    folder_of_run.open_run(run, read_manifest(undisturbed))
    assert (run / "problems.txt").read_text() == "a problem\n"


@pytest.mark.parametrize("name", ["problems.txt", "summary.json"])
def test_a_run_takes_no_folder_with_files_of_the_users_own(dataset, tmp_path, name):
    (tmp_path / name).write_text("my own notes")
    with pytest.raises(RunError, match="is there already, and is no run's; name another --output"):
        run_on(dataset, tmp_path, limit=4)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "my own notes")]


# ---- while it runs -------------------------------------------------------------------------------------------------


def once(work, at=8):
    """A progress that does something to the folder when so many images are done."""

    def progress(done, total):
        if done == at:
            work()

    return progress


@pytest.mark.parametrize("workers", [0, 1])
def test_a_process_whose_manifest_is_gone_stops(dataset, tmp_path, workers):
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"manifest of this run is gone or damaged, so this process stops") as caught:
        run_on(dataset, run, workers=workers, progress=once((run / "manifest.json").unlink))
    assert "\n" not in str(caught.value)
    assert not (run / "summary.json").exists()
    assert len(list((run / "rows").iterdir())) < 6


@pytest.mark.parametrize("workers", [0, 1])
def test_a_process_whose_folder_is_removed_does_not_make_it_again(dataset, tmp_path, workers):
    run = tmp_path / "run"
    with pytest.raises(RunError, match="manifest of this run is gone"):
        run_on(dataset, run, workers=workers, progress=once(lambda: shutil.rmtree(run)))
    assert not run.exists()


@pytest.mark.parametrize(("removed", "said"), [(False, "the disk is full"), (True, "manifest of this run is gone")])
def test_a_file_that_fails_since_its_run_is_gone_says_so(undisturbed, tmp_path, removed, said):
    run = shutil.copytree(undisturbed, tmp_path / "run")

    def write():
        with folder_of_run.writing_into(run, read_manifest(run).identity):
            if removed:
                shutil.rmtree(run)
            raise RunError("the disk is full")

    with pytest.raises(RunError, match=said):
        write()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("at", [0, 8, 22])
def test_a_folder_begun_anew_by_another_evaluation_stays_the_others(dataset, others, tmp_path, workers, at):
    run = tmp_path / "run"

    def begin_anew():
        while run.exists():  # a process may be writing into it just now
            shutil.rmtree(run, ignore_errors=True)
        run_on(dataset, run, model=other_network())

    with pytest.raises(RunError, match=r"manifest of this run is (gone|now of another evaluation)"):
        run_on(dataset, run, workers=workers, save_maps=True, progress=once(begin_anew, at))
    assert_same(run, others)
    assert all(read_maps(run, index) == {} for index in range(6))
