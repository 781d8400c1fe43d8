"""The page's API as its clients meet it: what it answers, what it refuses, and what it leaves behind."""

import base64
import io
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient
from torch import nn
from typer.testing import CliRunner

from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.cli import app as program
from looktwice.defaults import DEFAULT_MIN_SCORE, DEFAULT_THRESHOLDS
from looktwice.errors import InputError, MissingExtraError, OptionError
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.models import NetworkOutput, load_model
from looktwice.web import app as application
from looktwice.web.app import create_app
from looktwice.web.forms import Upload, decode
from looktwice.web.server import listen
from page import ADDRESS, FIVE, Small, client_with, picture, pixels_of, post, refused
from serving import serving

SAMPLES = Path(__file__).parents[2] / "examples" / "images"
STATIC = Path(application.__file__).parent / "static"


def claiming(width, height):
    """A PNG whose header claims a size, with next to nothing behind it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# What it answers.


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_an_answer_is_what_the_library_finds(view):
    model = load_model()
    file = SAMPLES / "cat.jpg"
    image = read_image(file)
    pixels, window = replace(model.preprocessing, squash=view == "whole").prepare(image)
    expected = attend(model.module, pixels, 285, steps=2, trace_weight=0.5)
    with TestClient(create_app([model]), base_url=ADDRESS) as client:
        fields = {"class": "Egyptian cat", "steps": 2, "trace_weight": 0.5, "threshold": 0.4, "view": view}
        answer = post(client, file.read_bytes(), **fields).json()
    (found,) = answer["methods"]
    heat = expected.maps[0].numpy()
    assert np.array_equal(pixels_of(found["map"]), (heat * 255).round().astype(np.uint8))
    assert found["scores"] == pytest.approx(expected.scores[0].tolist(), rel=1e-5)
    boxes = locate(expected.extents[0].numpy(), window, BoxRule("contour", threshold=0.4))
    corners = [(box["x1"], box["y1"], box["x2"], box["y2"]) for box in found["boxes"]]
    assert corners == [box.corners for box in boxes] != []
    assert answer["target"]["index"] == 285
    assert [answer["picture"]["width"], answer["picture"]["height"]] == list(image.size)
    assert answer["window"] == [window.left, window.top, window.right, window.bottom]
    assert answer["view"] == view
    assert (answer["window"] == [0, 0, *image.size]) == (view == "whole")
    with torch.no_grad():
        best = model.module(pixels)[0].softmax(0).topk(5)
    assert [guess["index"] for guess in answer["predicted"]] == best.indices.tolist()
    assert [guess["probability"] for guess in answer["predicted"]] == pytest.approx(best.values.tolist(), rel=1e-4)


def test_an_answer_draws_objects(client):
    answer = post(client, box="objects", min_score=0.01, max_boxes=2).json()
    assert answer["box_rule"] == {"rule": "objects", "min_score": 0.01, "max_boxes": 2}
    boxes = answer["methods"][0]["boxes"]
    assert 0 < len(boxes) <= 2
    assert boxes == sorted(boxes, key=lambda box: -box["score"])
    assert client.get("/api/models").json()["box"] == BoxRule().rule


def test_the_page_starts_each_box_rule_at_its_usual_value(client):
    found = re.findall(r'name="box" value="(\w+)" data-field="(\w+)" data-start="([\d.]+)"', client.get("/").text)
    usual = {name: ("threshold", share) for name, share in DEFAULT_THRESHOLDS.items()}
    usual["objects"] = ("min_score", DEFAULT_MIN_SCORE)
    assert {name: (field, float(start)) for name, field, start in found} == usual


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_score": 2}, "min_score is '2'; a number from 0 to 1 is needed"),
        ({"box": "objects", "threshold": 0.5}, "threshold is 0.5, and only contours and the energy box have one"),
        ({"max_boxes": 0}, "max_boxes is 0"),
        ({"max_boxes": 1.5}, "max_boxes is '1.5'; a whole number"),
        ({"box": "circle"}, "one of objects, contour, energy is needed"),
    ],
)
def test_boxes_that_cannot_be_drawn_are_refused(client, fields, said):
    response = post(client, **fields)
    assert response.status_code == 422
    assert said in response.json()["error"]


@pytest.mark.parametrize(
    ("sizes", "told", "window"),
    [
        ({"resize": (48, 96), "crop": (48, 96)}, [48, 96], [0, 0, 90, 60]),
        ({"resize": (60, 100), "crop": (48, 80)}, [48, 80], [9, 6, 81, 54]),
        ({"resize": 60, "crop": (48, 60)}, [48, 60], [15, 6, 75, 54]),
        ({"resize": 80, "crop": 64}, 64, [21, 6, 69, 54]),
    ],
)
def test_an_input_of_any_size_gives_its_map_and_its_window(small, sizes, told, window):
    model = replace(small, preprocessing=replace(small.preprocessing, **sizes))
    with TestClient(create_app([model]), base_url=ADDRESS) as client:
        assert client.get("/api/models").json()["models"][0]["input"] == told
        answer = post(client, view="centre").json()
    (found,) = answer["methods"]
    assert pixels_of(found["map"]).shape == (tuple(told) if isinstance(told, list) else (told, told))
    assert answer["window"] == pytest.approx(window, abs=1)
    for box in found["boxes"]:
        assert answer["window"][0] <= box["x1"] < box["x2"] <= answer["window"][2]
        assert answer["window"][1] <= box["y1"] < box["y2"] <= answer["window"][3]


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_other_channels_gets_its_picture(small, channels):
    small.module.body[0] = nn.Conv2d(channels, 4, 5, stride=8)
    choices = replace(small.preprocessing, mean=(0.5,) * channels, std=(0.5,) * channels)
    clear = io.BytesIO()
    Image.new("RGBA", (90, 60), (200, 0, 0, 0)).save(clear, "PNG")
    with TestClient(create_app([replace(small, preprocessing=choices)]), base_url=ADDRESS) as client:
        answer = post(client).json()
        preview = post(client, clear.getvalue()).json()["picture"]["preview"]
    assert answer["methods"][0]["map"].startswith("data:image/png")
    with Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2]))) as shown:
        assert np.asarray(shown).min() > 250  # what is transparent is shown white


def test_the_predicted_class_is_the_default(client):
    answer = post(client).json()
    assert answer["target"] == answer["predicted"][0]
    assert sum(guess["probability"] for guess in answer["predicted"]) == pytest.approx(1)


def test_an_answer_says_which_activations_are_gated_and_what_to_know(client, small):
    fields = {"methods": "gradient,feedback", "steps": 1}
    gradient, found = post(client, **fields).json()["methods"]
    assert gradient["gated"] == {"seen": 2, "gated": 0, "grids": []}
    assert found["gated"] == {"seen": 2, "gated": 1, "grids": [[3, 3]]}
    assert found["notes"] == []
    small.module.body[-1].weight.data.abs_().neg_()
    for row in post(client, methods="gradient,feedback", steps=1, **{"class": 0}).json()["methods"][1:]:
        assert ["the map is zero everywhere" in note for note in row["notes"]] == [True]


class Ending(nn.Module):
    def __init__(self, end, classes=5):
        super().__init__()
        self.small, self.end, self.classes = Small(), end, classes

    def forward(self, images):
        return self.end(self.small(images)[:, : self.classes])


@pytest.mark.parametrize("end", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
@pytest.mark.parametrize("classes", [1, 5])
def test_probabilities_are_the_networks_own(small, end, classes):
    if classes == 1 and isinstance(end, nn.LogSoftmax):
        pytest.skip("log 1 is no score")
    model = replace(small, module=Ending(end, classes).eval(), classes=FIVE[:classes])
    with torch.no_grad():
        scores = model.module(model.prepare(Image.open(io.BytesIO(picture())))[0])[0]
    if isinstance(end, nn.Identity):
        scores = scores.sigmoid() if classes == 1 else scores.softmax(0)
    expected = scores.exp() if isinstance(end, nn.LogSoftmax) else scores
    with client_with(model) as client:
        answer = post(client, methods="gradient", view="centre").json()
    assert len(answer["predicted"]) == classes
    assert answer["target"]["name"] == FIVE[int(expected.argmax())]
    for row in answer["predicted"]:
        assert row["probability"] == pytest.approx(float(expected[row["index"]]), abs=1e-6)


def test_a_declared_output_counts(small):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = Small()

        def forward(self, images):
            scores = self.small(images)
            return {"logits": -scores, "mine": scores}

    model = replace(small, module=Heads().eval(), output=NetworkOutput("multilabel_logits", scores="mine"))
    model.module.small.load_state_dict(small.module.state_dict())
    with torch.no_grad():
        scores = small.module(small.prepare(Image.open(io.BytesIO(picture())))[0])[0]
    with client_with(model) as client:
        answer = post(client, methods="gradient", view="centre").json()
    expected = 1 / (1 + (-scores.double()).exp())
    assert [row["index"] for row in answer["predicted"]] == expected.argsort(descending=True).tolist()
    for row in answer["predicted"]:
        assert row["probability"] == pytest.approx(float(expected[row["index"]]), abs=1e-6)


def test_a_page_tells_of_scores_that_may_be_probabilities(small):
    model = replace(small, module=Ending(lambda h: 1 / (1 + torch.exp(-h))).eval())
    with client_with(model) as client:
        (row,) = post(client, methods="gradient").json()["methods"]
    assert "all scores lie between 0 and 1" in row["notes"][-1]


def test_a_trajectory_is_the_map_after_each_step(client, small):
    asked = {"methods": "gradient,global_feedback,feedback_closed_form", "steps": 3, "class": "bee"}
    answer = post(client, trajectory=1, view="centre", **asked).json()
    gradient, found, closed_form = answer["methods"]
    assert gradient["trajectory"] is None
    assert len(found["trajectory"]) == len(closed_form["trajectory"]) == len(found["scores"]) == 4
    assert found["trajectory"][-1] == {part: found[part] for part in ("map", "boxes", "gates", "open")}
    opened = [stage["open"] for stage in found["trajectory"]]
    assert opened == sorted(opened, reverse=True)
    assert opened[0] == 1 > opened[-1]  # the gates begin open, and each step closes some
    assert closed_form["trajectory"][0]["open"] == 1
    pixels, _ = small.prepare(Image.open(io.BytesIO(picture())))
    one_step = attend(small.module, pixels, 3, steps=1).maps[0].numpy()
    assert np.array_equal(pixels_of(found["trajectory"][1]["map"]), (one_step * 255).round().astype(np.uint8))
    assert post(client, **asked).json()["methods"][1]["trajectory"] is None


def test_a_trace_weight_counts_in_each_methods_own_units(client):
    methods = "feedback,global_feedback,global_feedback_paper"
    found = post(client, methods=methods, trace_weight=3, steps=1).json()["methods"]
    assert [row["options"]["trace_weight"] for row in found] == pytest.approx([0, 3, 0.03])


def test_steps_are_the_iterative_methods_alone(client):
    pytest.importorskip("captum")
    found = post(client, methods="integrated_gradients", steps=1).json()["methods"][0]
    assert found["options"]["steps"] == METHODS["integrated_gradients"].options["steps"]


def test_a_method_that_fails_costs_only_itself(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    failed, found = post(client, methods="integrated_gradients,gradient").json()["methods"]
    assert failed.keys() == {"name", "class", "doubts", "error"}
    assert "looktwice[peers]" in failed["error"]
    assert pixels_of(found["map"]).shape == (64, 64)


def test_a_turned_picture_stands_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° to see it upright
    answer = post(client, picture(90, 60, "JPEG", exif=exif)).json()
    assert (answer["picture"]["width"], answer["picture"]["height"]) == (60, 90)


def test_models_are_listed_with_the_limits(client):
    answer = client.get("/api/models").json()
    assert answer["models"] == [{"name": "small", "weights": "drawn", "classes": 5, "input": 64}]
    assert answer["limits"]["upload_bytes"] == 20_000_000


def test_methods_are_listed_with_their_options(client):
    rows = {row["name"]: row for row in client.get("/api/methods").json()["methods"]}
    assert rows.keys() == METHODS.keys()
    assert rows["global_feedback"]["options"]["trace_weight"] == 1
    assert rows["global_feedback"]["iterative"]
    assert not rows["gradient"]["iterative"]


def test_methods_are_listed_under_the_names_of_every_page(client):
    rows = {row["name"]: row for row in client.get("/api/methods").json()["methods"]}
    assert (rows["gradient"]["title"], rows["feedback"]["short_name"]) == ("Gradient", "Local feedback")
    for name, row in METHODS.items():
        assert (rows[name]["title"], rows[name]["colour"]) == (row.label.title, row.label.colour)
    paper = [name for name, row in rows.items() if row["in_paper"]]
    assert paper == ["gradient", "guided_backprop", "feedback", "global_feedback"]


def test_all_methods_of_a_request_share_one_plain_pass(client, small):
    def passes(methods):
        before = small.module.passes
        assert all("map" in row for row in post(client, methods=methods, steps=2).json()["methods"])
        return small.module.passes - before

    post(client)  # a new network is measured in passes of its own
    # The plain pass is the first one of an ascent too, if that comes first.
    alone = [passes("gradient") - 1, passes("feedback"), passes("global_feedback")]
    assert alone == [1, 3, 3]
    assert passes("gradient,feedback,global_feedback") == 1 + sum(alone)


@pytest.mark.parametrize(
    ("query", "found"),
    [("BEE", ["bee", "bee eater", "Bumblebee"]), ("4", ["dog"]), ("t", ["ant", "bee eater"]), ("zebra", [])],
)
def test_classes_are_found_by_name(client, query, found):
    answer = client.get("/api/classes", params={"query": query}).json()["classes"]
    assert [row["name"] for row in answer] == found
    assert all(FIVE[row["index"]] == row["name"] for row in answer)


def test_a_search_is_answered_with_twenty_classes_at_most_and_words_first(client):
    model = load_model(weights="random")
    with TestClient(create_app([model]), base_url=ADDRESS) as many:
        assert len(many.get("/api/classes", params={"query": "a"}).json()["classes"]) == 20
        found = [row["name"] for row in many.get("/api/classes", params={"query": "cat"}).json()["classes"]]
    assert found.index("catamaran") == len([name for name in found if name.endswith(" cat")]) > 3


# What it refuses.


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(client):
    assert "50 megapixels" in refused(post(client, claiming(10_000, 10_000)), 413)
    assert "50 megapixels" in refused(post(client, claiming(60_000, 60_000)), 413)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a picture", "not an image"),
        (picture()[:-4000], "damaged or cut short"),
        # Pillow would start a program for this one.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image"),
    ],
)
def test_what_is_no_picture_is_refused(client, data, reason):
    assert reason in refused(post(client, data), 422)


def test_an_upload_that_is_too_large_is_refused(small):
    with client_with(small, upload_bytes=10_000) as client:
        assert "0.01 MB" in refused(post(client, picture(90, 60)), 413)
        assert "0.01 MB" in refused(post(client, bytes(200_000)), 413)

        def unannounced():
            yield b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
            for _ in range(100):
                yield bytes(10_000)

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        refused(client.post("/api/attend", content=unannounced(), headers=headers), 413)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"methods": "gradent"}, "did you mean gradient"),
        ({"methods": ",".join(list(METHODS)[:7])}, "at most 6"),
        ({"steps": 51}, "0 to 50"),
        ({"steps": 11, "trajectory": 1}, "0 to 10"),
        ({"steps": "many"}, "whole number"),
        ({"trace_weight": "nan"}, "trace_weight is 'nan'"),
        ({"trace_weight": -1}, "trace_weight"),
        ({"class": "zebra"}, "zebra"),
        ({"class": "7"}, "7"),
        ({"model": "other"}, "unknown model"),
        ({"box": "round"}, "round"),
        ({"threshold": 1}, "threshold"),
        ({"colour": "red"}, "unknown field"),
    ],
)
def test_choices_that_cannot_be_had_are_refused(client, fields, reason):
    assert reason in refused(post(client, **fields), 422)


def test_a_request_without_a_picture_is_refused(client):
    refused(client.post("/api/attend", files={"other": b"x"}), 422)
    refused(client.post("/api/attend", data={"picture": "text"}), 422)
    refused(client.post("/api/attend", content=b"x", headers={"Content-Type": "multipart/form-data"}), 422)


def test_scores_that_are_not_finite_are_refused(small):
    small.module.body[-1].bias.data.fill_(torch.inf)
    with client_with(small) as client:
        assert "not finite" in refused(post(client), 422)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "", "[::1"])
def test_foreign_hosts_are_refused(client, host):
    refused(client.get("/api/models", headers={"Host": host}), 400)


@pytest.mark.parametrize("host", ["localhost:8123", "127.0.0.1", "[::1]:8123", "LOCALHOST"])
def test_own_hosts_are_not(client, host):
    assert client.get("/api/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_requests_of_other_sites_pages_are_refused(client, origin):
    refused(client.get("/api/models", headers={"Origin": origin}), 403)
    assert client.get("/api/models", headers={"Origin": ADDRESS}).status_code == 200


# Many at once.


def test_the_queue_is_bounded(small):
    small.module.open.clear()
    with client_with(small, waiting=1) as client, ThreadPoolExecutor(3) as users:
        asked = [users.submit(post, client, methods="gradient") for _ in range(3)]
        # The network stands still, so that only a request without a place can be answered.
        done, others = wait(asked, timeout=30, return_when=FIRST_COMPLETED)
        small.module.open.set()
        (refusal,) = (request.result() for request in done)
        assert "too many" in refused(refusal, 503)
        assert refusal.headers["Retry-After"]
        assert [request.result().status_code for request in others] == [200, 200]
        assert post(client).status_code == 200


def test_a_request_has_a_time_limit_and_the_network_stops(small):
    small.module.pause = 0.05
    with client_with(small, seconds=0.3) as client:
        assert "0.3 seconds" in refused(post(client, steps=50), 504)
        small.module.pause = 0.0
        # Served by the same worker, so that the answer says that the first has come to its end.
        assert post(client, methods="gradient").status_code == 200
        passes = small.module.passes
        time.sleep(0.3)
        assert small.module.passes == passes < 30
    assert not small.module._forward_pre_hooks


# What it leaves behind.


def test_nothing_of_an_upload_reaches_a_disk(client, monkeypatch, tmp_path):
    def rollover(self):
        raise AssertionError("the upload was written to a file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    large = picture(1300, 1300)
    assert len(large) > 4_000_000
    assert post(client, large, methods="gradient").status_code == 200
    refused(post(client, b"\x00" * 4_000_000), 422)
    assert list(tmp_path.iterdir()) == []


def test_every_answer_carries_the_security_headers(client):
    for answer in (client.get("/"), client.get("/app.js"), client.get("/api/models"), client.get("/none")):
        assert "default-src 'none'; script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_loads_nothing_from_elsewhere(client):
    files = [file.name for file in STATIC.iterdir() if file.suffix in (".js", ".css", ".svg", ".html")]
    assert "app.js" in files
    for path in ("/", *files):
        answer = client.get(path)
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert "http:" not in text
        assert "https:" not in text
        assert "@import" not in text


def test_the_page_has_every_sample_picture_of_the_docs_and_its_source(client):
    """The same bytes: a smaller copy gets other probabilities, and other boxes, than the docs show."""
    folder = STATIC / "samples"
    names = {file.name for file in SAMPLES.glob("*.jpg")}
    assert {file.name for file in folder.iterdir()} == names | {"SOURCES.md"}
    for name in names:
        sent = client.get(f"/samples/{name}")
        assert sent.headers["Content-Type"] == "image/jpeg"
        assert sent.content == (SAMPLES / name).read_bytes()
        assert f"`{name}`" in (folder / "SOURCES.md").read_text()


# Its parts.


@pytest.mark.parametrize("kind", ["RGBA", "LA", "L", "P", "I;16", "CMYK"])
def test_uploads_are_read_as_files_are(tmp_path, kind):
    suffix = "jpg" if kind == "CMYK" else "png"
    file = tmp_path / f"picture.{suffix}"
    if kind == "I;16":
        Image.fromarray(np.arange(0, 60_000, 1000, dtype=np.uint16).reshape(6, 10)).save(file)
    else:
        Image.open(io.BytesIO(picture())).convert(kind).save(file)
    read = decode(Upload(file.read_bytes(), "a", "a"), most_pixels=10_000).image
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), np.asarray(read_image(file)))


def test_floating_point_pixels_are_refused():
    buffer = io.BytesIO()
    Image.new("F", (4, 4)).save(buffer, "TIFF")
    with pytest.raises(InputError, match=r"^a\.tif: "):
        decode(Upload(buffer.getvalue(), "a.tif", "a.tif"), most_pixels=100)


def test_a_port_that_is_taken_is_one_line():
    with listen("127.0.0.1", 0) as taken, pytest.raises(OptionError, match="name another --port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(OptionError):
        listen("no.such.host.invalid", 0)


def test_without_the_extra_its_name_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("looktwice.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(program, ["serve"])
    assert isinstance(result.exception, MissingExtraError)
    assert "pip install 'looktwice[web]'" in str(result.exception)


def resident(process):
    """Bytes of a process that lie in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_huge_picture_comes_back():
    data = io.BytesIO()
    Image.new("1", (7070, 7070)).save(data, "PNG")
    assert len(data.getvalue()) < 10_000
    with serving("--weights", "random") as (server, address), httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(2):
            assert post(client, methods="gradient").status_code == 200
        before = resident(server)
        for _ in range(2):
            assert post(client, data.getvalue(), methods="gradient").status_code == 200
        assert resident(server) - before < 40_000_000  # of 200 million for its pixels


@pytest.mark.slow
def test_the_program_says_where_the_page_is():
    command = [sys.executable, "-m", "looktwice", "serve", "--port", "0", "--weights", "random"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            with httpx.Client(base_url=line.split()[1]) as client:
                assert client.get("/api/models").json()["models"][0]["weights"] == "random"
                assert "<title>looktwice</title>" in client.get("/").text
        finally:
            server.terminate()
        assert server.communicate(timeout=20)[1] == ""
