"""Files with weights as training programs write them, and files that are broken on purpose."""

import argparse
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from looktwice.errors import ModelError
from looktwice.models import load_model, weights_hash
from own_networks import small_net

STATE = small_net().state_dict()
OTHER = {key: value + 1 for key, value in STATE.items()}


def prefixed(prefix, state=STATE):
    return {f"{prefix}{key}": value for key, value in state.items()}


def loaded(net_file, content, name="weights.pth"):
    file = net_file.parent / name
    torch.save(content, file)
    return load_model(f"{net_file}:net", weights=file)


def is_filled(model, state=STATE):
    expected = small_net()
    expected.load_state_dict(state)
    return weights_hash(model.module) == weights_hash(expected)


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod.", "model.", "net.", "model.net.",
     "model._orig_mod.", "module.model.", "_fsdp_wrapped_module._checkpoint_wrapped_module."],
)  # fmt: skip
def test_what_wrappers_add_to_names_is_taken_off(net_file, prefix):
    assert is_filled(loaded(net_file, prefixed(prefix)))


def test_what_wrappers_add_inside_names_is_taken_off(net_file):
    inside = {key.replace(".", "._orig_mod.", 1): value for key, value in STATE.items()}
    assert is_filled(loaded(net_file, prefixed("module.", inside)))


def test_a_network_that_is_wrapped_itself_takes_plain_names(tmp_path):
    text = """
    import torch
    from own_networks import small_net
    def compiled():
        return torch.compile(small_net())
    def parallel():
        return torch.nn.DataParallel(small_net())
    """
    (tmp_path / "wrapped.py").write_text(textwrap.dedent(text))
    torch.save(OTHER, tmp_path / "plain.pth")
    for factory in ("compiled", "parallel"):
        module = load_model(f"{tmp_path}/wrapped.py:{factory}", weights=tmp_path / "plain.pth").module
        assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), OTHER.values(), strict=True))


def test_a_prefix_of_some_names_only_is_not_guessed_at(net_file):
    with pytest.raises(ModelError, match=r"does not fit.*missing.*unexpected"):
        loaded(net_file, prefixed("model.") | {"loss.weight": torch.zeros(1)})


def test_two_names_for_one_weight_are_refused(net_file):
    with pytest.raises(ModelError, match=r"1 unexpected \(module\.0\.weight\)"):
        loaded(net_file, STATE | {"module.0.weight": torch.zeros(4, 3, 3, 3)})


@pytest.mark.parametrize(
    "entry", ["model", "state_dict", "model_state_dict", "model_state", "net", "ema", "model_ema", "mine"]
)
def test_a_checkpoint_is_opened(net_file, entry):
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    model = loaded(net_file, {"epoch": 3, entry: prefixed("module."), "optimizer": optimizer, "loss": torch.zeros(())})
    assert is_filled(model)
    assert model.weights == str(net_file.parent / "weights.pth")


def test_a_checkpoint_inside_a_checkpoint_is_opened(net_file):
    assert is_filled(loaded(net_file, {"checkpoint": {"state_dict": prefixed("model."), "step": 3}}))


@pytest.mark.parametrize("entry", ["ema", "model_ema", "state_dict_ema"])
def test_of_several_state_dicts_the_average_is_taken_and_said(net_file, entry):
    model = loaded(net_file, {"model": STATE, entry: prefixed("module.", OTHER) | {"n_averaged": torch.tensor(9)}})
    assert is_filled(model, OTHER)
    assert model.weights.endswith(f"weights.pth ({entry}; not model)")


def test_of_several_state_dicts_one_that_fits_is_taken(net_file):
    model = loaded(net_file, {"teacher": small_net(classes=9).state_dict(), "model": STATE})
    assert is_filled(model)
    assert model.weights.endswith("weights.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["a.ckpt", "a.pth.tar", "a.bin", "a.pt", "a.pth", "a.weights", "a", "a.safetensors"])
def test_files_are_known_by_their_content(net_file, name):
    file = net_file.parent / name
    save_file(STATE, file)
    assert is_filled(load_model(f"{net_file}:net", weights=file))
    for modern in (True, False):
        torch.save(STATE, file, _use_new_zipfile_serialization=modern)
        assert is_filled(load_model(f"{net_file}:net", weights=file))


def test_options_paths_and_scores_beside_the_weights_do_not_matter(net_file):
    beside = {"args": argparse.Namespace(lr=0.1, data=Path("here")), "best": np.float64(0.7), "epoch": np.int64(3)}
    assert is_filled(loaded(net_file, {"state_dict": STATE, **beside}))


def test_an_object_that_is_not_read_is_named(net_file):
    with pytest.raises(ModelError, match=r"run code|fractions\.Fraction"):
        loaded(net_file, {"state_dict": STATE, "ratio": __import__("fractions").Fraction(1, 2)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "Keras"),
        (b"\x1f\x8b\x08" + bytes(40), "unpack"),
        (b"PK\x03\x04" + bytes(40), "damaged"),
        (b"\x80\x02" + bytes(40), "damaged"),
        (bytes(8) + b"{" + bytes(40), "damaged"),
        (b"\xff" * 8 + b"{" + bytes(40), "damaged"),
    ],
)
def test_what_is_no_weights_file_says_what_to_do(net_file, content, said):
    file = net_file.parent / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        load_model(f"{net_file}:net", weights=file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keys", [[0, 1], [b"a", b"b"], [("a", 1), ("b", 2)]])
def test_keys_that_are_no_text(net_file, keys):
    with pytest.raises(ModelError, match=f"its keys are {type(keys[0]).__name__}, not names"):
        loaded(net_file, {key: torch.zeros(1) for key in keys})


def of(value):
    return STATE | {"5.weight": value}


WRONG = {
    "sparse": (lambda: of(torch.zeros(3, 4).to_sparse()), "5.weight is stored as sparse_coo; save value.to_dense()"),
    "csr": (lambda: of(torch.zeros(3, 4).to_sparse_csr()), "5.weight is stored as sparse_csr"),
    "meta": (lambda: of(torch.zeros(3, 4, device="meta")), "5.weight has a shape but no values"),
    "quantized": (lambda: of(torch.quantize_per_tensor(torch.zeros(3, 4), 0.1, 0, torch.qint8)), "is quantized"),
    "NaN": (lambda: of(torch.full((3, 4), torch.nan)), "5.weight has values that are NaN or infinite"),
    "infinite": (lambda: of(torch.full((3, 4), torch.inf)), "5.weight has values that are NaN or infinite"),
    "too large": (lambda: of(torch.full((3, 4), 1e300, dtype=torch.float64)), "too large for float32"),
    "complex": (lambda: of(torch.zeros(3, 4, dtype=torch.complex64)), "is complex64, and float32 is needed"),
    "bool": (lambda: of(torch.ones(3, 4, dtype=torch.bool)), "is bool, and float32 is needed"),
    "integer": (lambda: of(torch.ones(3, 4, dtype=torch.int8)), "is int8, and float32 is needed"),
    "NaN in a buffer": (lambda: STATE | {"1.running_var": torch.full((4,), torch.nan)}, "1.running_var has values"),
    "no tensor": (lambda: of([0.0] * 12), "1 missing (5.weight)"),
    "a view of one number": (lambda: of(torch.zeros(()).expand(10**5, 10**5)), "(100000, 100000) instead of (3, 4)"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(quantiz|Sparse|TypedStorage)")
@pytest.mark.parametrize("case", WRONG)
def test_tensors_that_are_no_weights(net_file, case):
    make, said = WRONG[case]
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        loaded(net_file, make())
    assert "\n" not in str(caught.value)


def test_infinite_buffers_and_any_counters_are_taken(net_file):
    state = STATE | {"1.num_batches_tracked": torch.tensor(3.0), "1.running_mean": torch.full((4,), -torch.inf)}
    assert loaded(net_file, state).module[1].running_mean.isinf().all()


def test_a_fraction_is_no_whole_number(tmp_path):
    text = """
    import torch
    from own_networks import small_net
    def net():
        made = small_net()
        made.register_buffer("places", torch.arange(4))
        return made
    """
    (tmp_path / "whole.py").write_text(textwrap.dedent(text))
    torch.save(STATE | {"places": torch.rand(4)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="places is float32, and int64 is needed"):
        load_model(f"{tmp_path}/whole.py:net", weights=tmp_path / "w.pth")


def packed(file, size):
    """A file of ``torch.save`` whose weights are packed: zeros take a thousandth of their room."""
    torch.save(STATE | {"5.bias": torch.zeros(size // 4)}, file)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(f"{file}.new", "w", zipfile.ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    Path(f"{file}.new").replace(file)


def test_a_packed_file_that_takes_far_more_than_the_network(net_file):
    file = net_file.parent / "weights.pth"
    packed(file, 400_000_000)
    assert file.stat().st_size < 1_000_000
    code = f"""
    import resource
    from looktwice.errors import ModelError
    from looktwice.models import load_model
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_model({f"{net_file}:net"!r}, weights={str(file)!r})
    except ModelError as error:
        print(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    said, grown = ran.stdout.splitlines()
    assert "takes 400 MB when it is unpacked" in said
    assert int(grown) < 100_000  # kilobytes


def test_a_packed_file_of_the_right_size_is_read(net_file):
    file = net_file.parent / "weights.pth"
    packed(file, 12)
    assert is_filled(load_model(f"{net_file}:net", weights=file), STATE | {"5.bias": torch.zeros(3)})
