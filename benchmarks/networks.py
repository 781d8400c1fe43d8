"""Which networks can be explained: one of every family of torchvision's and timm's, with random weights.

    python benchmarks/networks.py [NAME …] [--output out/networks.json]
    python benchmarks/networks.py --output out/networks.json --page docs/networks.md

Each network gets one picture, at its own size of input, and the default method. Only what does not depend on training
is looked at: which activations carry gates, at which grids, and whether the map shows a place. What a network has of
zeros before its training, such as the head of torchvision's transformers, gets random numbers. Killed, the same command
goes on with the networks that are missing.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from looktwice import attend, read_image
from looktwice.atomic_files import write_atomically
from looktwice.errors import LooktwiceError, LooktwiceWarning, one_line
from looktwice.models import load_model

TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d
    shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16 vit_b_32 wide_resnet50_2
""".split()  # noqa: SIM905 - one word after the other is easier to read
"""At least one network of each of torchvision's families."""

TIMM = """
    beit_base_patch16_224 caformer_s18 cait_xxs24_224 coat_tiny coatnet_nano_rw_224 convit_tiny convnext_atto
    convnextv2_atto crossvit_9_240 cspdarknet53 cspresnet50 darknet53 davit_tiny deit3_small_patch16_224
    deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 densenet121 dla34 dm_nfnet_f0 eca_botnext26ts_256
    ecaresnet26t edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnetv2_rw_t
    efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_336 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
    ghostnet_100 gmlp_s16_224 halonet26t hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small inception_next_tiny
    inception_v4 lambda_resnet26t lcnet_050 levit_128s mambaout_femto maxvit_nano_rw_256 mixer_s16_224 mixnet_s
    mnasnet_100 mobilenetv2_100 mobilenetv3_large_100 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050
    nest_tiny nextvit_small nfnet_l0 pit_ti_224 poolformer_s12 pvt_v2_b0 regnety_002 repvgg_a0 repvit_m0_9
    res2net50_26w_4s resmlp_12_224 resnest14d resnet18 resnetv2_50 resnext50_32x4d rexnet_100 selecsls42 sequencer2d_s
    seresnet50 skresnet18 starnet_s1 swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 swinv2_tiny_window8_256
    tf_efficientnetv2_b0 tiny_vit_5m_224 tinynet_a tnt_s_patch16_224 twins_pcpvt_small vgg11_bn visformer_tiny
    vit_base_patch16_clip_quickgelu_224 vit_little_patch16_reg4_gap_256 vit_small_patch16_18x2_224
    vit_small_patch32_224 vit_tiny_patch16_224 volo_d1_224 xception41 xcit_nano_12_p16_224
""".split()  # noqa: SIM905
"""One network of each of timm's families."""

NAMES = [*TORCHVISION, *(f"timm:{name}" for name in TIMM)]

LIMIT = 300
"""Seconds for a network."""

MARK = "<!-- The rest is written by benchmarks/networks.py --page. -->"


def main() -> None:
    """Looks at networks, each in a process of its own, or prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("out/networks.json"))
    parser.add_argument("--picture", type=Path, default=Path("examples/images/cat.jpg"))
    parser.add_argument("--page", type=Path, help="write the output's table into this page, after its mark")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    choices = parser.parse_args()
    if choices.page:
        head = choices.page.read_text().partition(MARK)[0]
        found = json.loads(choices.output.read_text())
        choices.page.write_text(f"{head}{MARK}\n\n{table({name: found[name] for name in NAMES if name in found})}\n")
    elif choices.one:
        print(json.dumps(seen(choices.one, choices.picture)))  # noqa: T201
    else:
        look_at_all(choices.names or NAMES, choices.picture, choices.output)


def look_at_all(names: list[str], picture: Path, output: Path) -> None:
    """Writes what is seen of each network that the output does not have yet."""
    found = json.loads(output.read_text()) if output.exists() else {}
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in found:
            continue
        command = [sys.executable, __file__, "--one", name, "--picture", str(picture)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
            last = (ran.stdout.strip() or ran.stderr.strip() or f"exit {ran.returncode}").splitlines()[-1]
            found[name] = json.loads(last) if ran.returncode == 0 else {"crash": last}
        except subprocess.TimeoutExpired:
            found[name] = {"crash": f"more than {LIMIT} s"}
        print(name, found[name], flush=True)  # noqa: T201
        write_atomically(output, json.dumps(found, indent=1).encode())


def seen(name: str, picture: Path) -> dict[str, Any]:
    """What there is to say of one network."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", LooktwiceWarning)
    try:
        model = load_model(name, weights="random")
        fill_zeros(model.module)
        images, _ = model.prepare(read_image(picture))
        begun = time.perf_counter()
        attention = attend(model.module, images)
    except LooktwiceError as error:
        return {"refused": one_line(error)}
    heat = attention.maps[0]
    return {
        "input": list(images.shape[1:]),
        "activations": attention.activations,
        "gated": dict(Counter(f"{call.kind} {call.grid[0]}×{call.grid[1]}" for call in attention.layers if call.grid)),
        "names": sorted({call.activation for call in attention.layers}),
        "shows_a_place": bool(heat.amax() > heat.amin()),
        "notes": [note for _, note in attention.notes],
        "seconds": round(time.perf_counter() - begun, 2),
    }


def fill_zeros(network: torch.nn.Module) -> None:
    """Random numbers for every weight that is zero throughout. With them, no class score would depend on the image."""
    noise = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if not name.endswith("bias") and not weight.any():
            weight.data.normal_(0, 0.02, generator=noise)


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each network."""
    works = [name for name, each in found.items() if each.get("shows_a_place")]
    lines = [
        f"{len(works)} of {len(found)} networks have a map that shows a place.",
        "",
        "| network | input | activations | with gates by default | what is said |",
        "|---|---|---|---|---|",
    ]
    for name, each in found.items():
        if "gated" not in each:
            lines.append(f"| {name} | | | | **{'refused' if 'refused' in each else 'fails'}**: {reason(each)} |")
            continue
        gated = ", ".join(f"{count} × {where}" for where, count in each["gated"].items())
        size = "×".join(map(str, each["input"][1:]))
        total = f"{each['activations']} ({', '.join(each['names'])})"
        lines.append(f"| {name} | {size} | {total} | {gated} | {'; '.join(each['notes'])} |")
    return "\n".join(lines)


def reason(each: dict[str, Any]) -> str:
    """Why a network has no map."""
    return str(each.get("refused") or each["crash"]).replace("|", "\\|")


if __name__ == "__main__":
    main()
