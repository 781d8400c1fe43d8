"""A method of one's own, named by its file."""

import json

import pytest

from command_line import refused
from looktwice.explain import comparison
from own_methods import OWN_METHODS


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHODS)
    return lambda name="BRIGHT": f"{file}:{name}"


def test_attend(looktwice, net, own, photo, tmp_path):
    choice = ("--model", net(), "--target", 1, "--method", own(), "--option", "power=2", "--output", tmp_path)
    assert looktwice("attend", photo, *choice).code == 0
    record = json.loads((tmp_path / "photo.1.json").read_text())
    assert (record["method"], record["options"]["power"]) == ("BRIGHT", 2.0)
    assert record["scores"] == []
    assert record["boxes"]


def test_compare(looktwice, net, own, photo, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(comparison, "_encoder", lambda _: lambda frames: sheets.extend(frames) or b"")
    methods = f"gradient,{own()},{own('SHORT')}"
    assert looktwice("compare", photo, "--model", net(), "--methods", methods, "--output", tmp_path).code == 0
    assert sheets[0].columns == ["input", "Gradient", "Brightness", "Short"]
    ran = looktwice("compare", photo, "--model", net(), "--methods", own("SHORT"), "--animate", "--output", tmp_path)
    assert ran.out == [f"{tmp_path}/compare-gates.gif"]
    assert [sheet.heading for sheet in sheets[1:]] == ["step 0 of 1", "step 1 of 1"]


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        (["--method", "OWN:gradient"], ["gradient of your own", "another one"]),
        (["--method", "OWN:NUMBER"], ["int", "looktwice.attention.Method"]),
        (["--method", "OWN:BRIHGT"], ["'BRIHGT'", "BRIGHT"]),
        (["--method", "gone.py:M"], ["gone.py", "no such file"]),
        (["--method", "OWN:BRIGHT", "--option", "powre=2"], ["'powre'", "power"]),
        (["--method", "OWN:BRIGHT", "--option", "power=high"], ["power=high", "a number", "1.0"]),
    ],
)
def test_a_mistake_is_one_line(looktwice, net, own, photo, tmp_path, choice, parts):
    choice = [own(text[4:]) if text.startswith("OWN:") else text for text in choice]
    assert refused(looktwice("attend", photo, "--model", net(), "--output", tmp_path / "out", *choice), *parts)


def test_evaluate_goes_on_with_the_same_code_alone(looktwice, net, own, tmp_path, photo):
    data = tmp_path / "data"
    data.mkdir()
    photo.rename(data / "photo.png")
    (data / "boxes.csv").write_text("image,label,x1,y1,x2,y2\nphoto.png,1,5,5,30,30\n")
    run = tmp_path / "run"
    fixed = ("--layout", "csv", "--model", net(), "--workers", 0, "--output", run)
    mine = (*fixed, "--methods", f"gradient,{own()}", "--option", "BRIGHT.power=2")
    assert looktwice("evaluate", data, *mine).code == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert list(manifest["run"]["methods"]) == ["gradient", "BRIGHT"]
    assert manifest["run"]["methods"]["BRIGHT"]["code"]["file"] == "mine.py"
    assert manifest["about"]["labels"] == {
        "BRIGHT": {"title": "Brightness", "short_name": "Bright", "colour": "#123456"}
    }
    part = run / "rows" / "part-000000.parquet"
    written = part.stat().st_mtime_ns
    assert looktwice("evaluate", data, *mine).code == 0
    assert part.stat().st_mtime_ns == written
    ran = looktwice("table", run)
    assert ran.code == 0
    assert "BRIGHT" in "\n".join(ran.out) or "Bright" in "\n".join(ran.out)

    (tmp_path / "mine.py").write_text(OWN_METHODS + "\n# another thought\n")
    assert refused(looktwice("evaluate", data, *mine), "methods.BRIGHT.code.sha256 was", "name another --output")
    other = (*fixed, "--methods", f"gradient,{own('center_box')}")
    assert refused(looktwice("evaluate", data, *other), "center_box has the name of a baseline")
