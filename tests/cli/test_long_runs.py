"""How the commands that take long tell how far they are."""

from looktwice.cli.long_runs import Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_line_a_minute_tells_rate_and_time_left(capsys):
    clock = Clock()
    pace = Pace("images", clock)
    pace.tell_each_minute(0, 50_000)
    for seconds, done in ((30, 120), (59, 236), (60, 240), (90, 360), (119, 470), (120, 480)):
        clock.now = 100.0 + seconds
        pace.tell_each_minute(done, 50_000)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "looktwice: 240 of 50,000 images, 4 a second, 3:27:20 left",
        "looktwice: 480 of 50,000 images, 4 a second, 3:26:20 left",
    ]


def test_what_an_earlier_call_did_is_not_counted_as_fast(capsys):
    clock = Clock()
    pace = Pace("images", clock)
    pace.tell_each_minute(49_000, 50_000)
    clock.now += 100
    pace.tell_each_minute(49_100, 50_000)
    assert capsys.readouterr().err == "looktwice: 49,100 of 50,000 images, 1 a second, 0:15:00 left\n"


def test_nothing_done_has_no_rate():
    clock = Clock()
    pace = Pace("parts", clock)
    pace.count(0, 10)
    clock.now += 5
    assert (pace.rate_text, pace.line) == ("", "0 of 10 parts")
