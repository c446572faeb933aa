"""One command for a stranger's TTS: refused at once or announced beforehand; a set that breaks; folders compared."""

import argparse
import asyncio
import importlib.util
import json
import shlex

import pytest

from evals import asked, barge_in, compare, everything, latency, quality, runs, virtual_time, yours
from evals.everything import run_set
from evals.outcome import environment
from evals.peers.base import ReplyFailedError
from evals.peers.registry import OPTIONS, add_options, as_arguments
from evals.peers.tone import TonePeer, ToneReply
from tests.strange_server import start


class Counted(TonePeer):
    """A tone that keeps what it was asked to say."""

    def __init__(self):
        super().__init__(lead_ms=1e9)
        self.replies = []

    def reply(self, *, voice="default"):
        self.replies.append(super().reply(voice=voice))
        return self.replies[-1]


@pytest.fixture
def counted(monkeypatch):
    peer = Counted()
    for module in (latency, barge_in, quality):
        monkeypatch.setattr(module, "make_peer", lambda options: peer)
    return peer


@pytest.fixture
async def address():
    runner, url = await start()
    yield url
    await runner.cleanup()


def asked_texts(total, opened):
    """Without the few words of each opening, which a tone is not asked for."""
    return total.replies - 2 * opened, total.characters - 2 * opened * len("One, two, three, four, five.")


# -- what will be asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["", "--seeds 2 --sentences 2 --load closed:2:5 --load poisson:2:4 --load burst:3:2:1"]
)
def test_latency_asks_for_what_was_announced(counted, words):
    options = latency.options_parser().parse_args(["--peer", "tone", *words.split()])
    virtual_time.run(latency._run(options))
    said = [reply.text for reply in counted.replies]
    assert asked_texts(asked.asked_by_latency(options, 1.0), options.seeds) == (len(said), sum(map(len, said)))


def test_barge_in_asks_for_no_more_than_was_announced(counted):
    words = "--peer tone --virtual --reaction energy --clips voiced --only steady --only double"
    options = barge_in.options_parser().parse_args(words.split())
    virtual_time.run(barge_in._run(options))
    said = [reply.text for reply in counted.replies]
    replies, characters = asked_texts(asked.asked_by_barge_in(options), 1)
    assert replies == len(said)
    assert 0.3 * characters < sum(map(len, said)) <= characters


def test_quality_asks_for_what_was_announced(counted):
    options = quality.options_parser().parse_args(["--peer", "tone", "-n", "3", "--voices", "a", "b"])
    virtual_time.run(quality._speak_all(options))
    said = [reply.text for reply in counted.replies]
    assert asked_texts(asked.asked_by_quality(options, 1.0), 1) == (12, sum(map(len, said)))


# -- the command ------------------------------------------------------------------------------------------------------


def test_every_option_of_a_peer_is_handed_on():
    parser = argparse.ArgumentParser()
    add_options(parser)
    words = shlex.split(
        "--peer http --url http://host/ --model m --voice -x= --lead-ms 5 --over-socket --key-env KEY --rate 8000 "
        "--chunking whole --timeout-s 9 --body 'a={text}' --model-file m.onnx --voice-file v.bin".replace(" -x=", "=-x")
    )
    options = parser.parse_args(words)
    assert {*vars(options)} == {*OPTIONS}
    assert all(getattr(options, name) != parser.get_default(name) for name in OPTIONS)
    assert parser.parse_args(as_arguments(options)) == options


@pytest.fixture
def planned(monkeypatch):
    """What would be run."""
    found = {}

    def note(commands, out, title, line):
        found.update(commands=commands, title=title, line=line)
        return 0

    monkeypatch.setattr(yours, "run_set", note)
    return found


async def test_a_stranger_is_told_beforehand_what_it_costs(address, planned, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    words = ["--url", f"{address}/well", "--key-env", "MY_KEY", "--voices", "one", "two"]
    assert await asyncio.to_thread(yours.main, words) == 0
    out = capsys.readouterr().out
    assert "24000 Hz (as its WAV answer to the same words says)" in out
    assert "with the key in MY_KEY" in out
    assert "less of each: --quick" in out
    assert "sk-secret" not in out
    names = [shlex.split(command)[0] for command in planned["commands"]]
    assert names == ["latency", "barge-in", "quality"]
    assert all(f"--url {address}/well --key-env MY_KEY" in command for command in planned["commands"])
    assert planned["commands"][2].endswith("-n 40 --modes whole --voices one two")
    whole = planned["line"]["asked"]
    assert await asyncio.to_thread(yours.main, [*words, "--quick"]) == 0
    quick = planned["line"]["asked"]
    assert 4 * quick["characters"] < whole["characters"]
    assert 4 * quick["replies"] < whole["replies"]


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("401", "cannot run: no speech from {url}: HTTP 401 (Incorrect API key provided: .): the server wants a key: "),
        ("mp3", "cannot run: no speech from {url}: the server answers audio/mpeg; allowed: "),
        ("404", "cannot run: no speech from {url}: HTTP 404 (The model does not exist. "),
    ],
)
async def test_what_is_wrong_with_a_server_is_said_before_anything_is_asked_for(
    address, planned, capsys, monkeypatch, way, says
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert await asyncio.to_thread(yours.main, ["--url", f"{address}/{way}"]) == 2
    assert capsys.readouterr().out.startswith(says.format(url=f"{address}/{way}"))
    assert planned == {}


async def test_a_server_that_fails_now_and_then_is_measured_all_the_same(address, planned):
    assert await asyncio.to_thread(yours.main, ["--url", f"{address}/500-now-and-then"]) == 0
    assert planned["commands"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "--peer openai needs --url"),
        ("--url http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1: it cannot be reached (Connect call failed"),
        ("--url http://127.0.0.1:9/v1 --key-env NO_SUCH_KEY", "--key-env NO_SUCH_KEY: there is no such variable"),
        ("--peer espeak --voice nobody", "espeak"),
        (
            "--peer piper --voice-file nowhere.onnx",
            "piper is not" if importlib.util.find_spec("piper") is None else "nowhere.onnx",
        ),
    ],
)
def test_a_peer_that_is_not_there_is_said_in_one_line(planned, capsys, words, says):
    assert yours.main(words.split()) == 2
    assert says in capsys.readouterr().out
    assert planned == {}


def test_nobody_s_key_goes_to_somebody_else_s_server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.delenv("FISH_API_KEY", raising=False)
    for peer in ("fish", "fish-live", "http"):
        assert yours._with_key(yours.options_parser().parse_args(["--peer", peer])) == ", without a key"
    assert yours._with_key(yours.options_parser().parse_args([])) == ", with the key in OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("module", "words", "says"),
    [
        (latency, "--load storm:3", "load 'storm:3' is none of closed:N:N"),
        (latency, "--load poisson:0:5", "rate_per_s is 0"),
        (quality, "--sentences-file nowhere.txt", "nowhere.txt is not there"),
        (barge_in, "--only nothing", "no scenario is called nothing; allowed for --only: "),
        (barge_in, "--scenarios nowhere.yaml", "nowhere.yaml cannot be read"),
        (barge_in, "--clips file:nowhere.wav", "clip 'file:nowhere.wav': "),
        (barge_in, "--clips trumpet", "clip 'trumpet'; allowed: say:TEXT, file:PATH"),
        (barge_in, f"--clips file:{__file__}", "is no WAV; allowed: 16-bit PCM mono"),
        (barge_in, "--virtual", "--virtual is for --peer tone and talker; openai needs real time"),
    ],
)
def test_an_option_that_is_wrong_is_said_before_a_server_is_asked(capsys, module, words, says):
    # The address answers nothing: whoever asks it says so instead.
    try:
        code = module.main(["--peer", "openai", "--url", "http://127.0.0.1:9/v1", *words.split()])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert code == 2
    assert says in captured.out + captured.err


def test_a_reply_that_fails_is_the_reason_why_an_event_never_came(capsys, monkeypatch):
    class Failing(ToneReply):
        async def __aiter__(self):
            raise ReplyFailedError("HTTP 500")
            yield

    monkeypatch.setattr(TonePeer, "reply", lambda self, *, voice: Failing(*self._settings, self._sound))
    words = "--peer tone --virtual --reaction energy --clips voiced --only steady --quick --warm-up 0"
    assert barge_in.main(words.split()) == 1
    assert "no 'steady' before the reply ended (HTTP 500)" in capsys.readouterr().out


# -- a set ------------------------------------------------------------------------------------------------------------

WORKS = "latency --peer tone --seeds 1 --warm-up 0 --load closed:1:1 --lead-ms 100000"
MISSES = "latency --peer openai"


@pytest.mark.parametrize(
    ("commands", "code", "passed"),
    [
        ((WORKS, MISSES), 0, True),
        ((MISSES,), 2, False),
        ((WORKS, "latency --no-such-option"), 1, False),
        ((WORKS, "no-such-evaluation"), 1, False),
    ],
)
def test_an_evaluation_that_breaks_fails_the_set_and_one_that_misses_something_does_not(
    tmp_path, capsys, commands, code, passed
):
    assert run_set(commands, tmp_path, "A set", {"eval": "all"}) == code
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["passed"] is passed
    assert len(line["runs"]) + len(line["not_run"]) == len(commands)
    page = (tmp_path / "report.html").read_text()
    assert ("broke" in page) is (code == 1)


def test_what_an_earlier_run_left_in_the_folder_is_not_this_one_s(tmp_path):
    import os

    old = tmp_path / "01"
    old.mkdir()
    for name in ("latency-other.html", "latency-other.json"):
        (old / name).write_text("<body>stale</body>")
        os.utime(old / name, (1, 1))
    run_set([WORKS], tmp_path, "A set", {"eval": "all"})
    assert json.loads((tmp_path / "results.json").read_text())["files"] == ["01/latency-tone.json"]
    assert "stale" not in (tmp_path / "report.html").read_text()


def test_an_address_stands_in_the_page_without_its_secrets():
    command = "latency --peer http --url 'https://me:pass@host/tts?key=abc&text={text}' --voice a"
    assert everything._shown(command) == "latency --peer http --url 'https://host/tts --voice a"


# -- two folders ------------------------------------------------------------------------------------------------------


def save(folder, name, *, evaluation="latency", peer="tone", config=None, by=0.0, figure="ttfa_playable_ms"):
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {f"text {number}": {figure: 50 + 7 * number % 30 + by} for number in range(20)}
    run = {"eval": evaluation, "peer": peer, "seed": 1, "config": config or {}, "pairs": pairs}
    (folder / name).write_text(json.dumps(run | {"environment": environment()}))


def verdicts_of(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_two_folders_are_compared_evaluation_by_evaluation(tmp_path, capsys):
    for side, peer, by in (("a", "openai", 0), ("b", "fish", 9)):
        save(tmp_path / side / "01", f"latency-{peer}.json", peer=peer, by=by)
        for number, reaction in ((2, "immediate"), (3, "energy")):
            config = {"reaction": reaction, "lacks": [peer]}
            figure = {"evaluation": "barge-in", "figure": "silence_ms", "config": config}
            save(
                tmp_path / side / f"0{number}", f"barge-in-{reaction}.json", peer=peer, by=-by * (number == 2), **figure
            )
    save(tmp_path / "b" / "04", "quality-fish.json", evaluation="quality")
    assert compare.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    found = verdicts_of(capsys)
    better = [{name: v["better"] for name, v in one["verdicts"].items()} for one in found["comparisons"]]
    assert better == [{"ttfa_playable_ms": "a"}, {"silence_ms": "b"}, {"silence_ms": None}]
    assert [one["b"].partition(",")[0] for one in found["comparisons"]][1:] == [
        "barge-in of fish (immediate)",
        "barge-in of fish (energy)",
    ]
    assert len(found["alone"]) == 1


def test_a_folder_s_own_list_says_what_belongs_to_it(tmp_path):
    save(tmp_path, "latency-tone.json")
    save(tmp_path, "latency-stale.json", peer="stale")
    assert len(runs.runs_of(tmp_path)) == 2
    (tmp_path / "results.json").write_text('{"files": ["latency-tone.json"]}')
    assert [run["peer"] for run in runs.runs_of(tmp_path)] == ["tone"]
    assert [run["peer"] for run in runs.runs_of(tmp_path / "results.json")] == ["tone"]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ("nowhere", "is not there; a JSON file or a folder that --out wrote is needed"),
        ("empty", "holds no saved run"),
        ("text.json", "cannot be read"),
        ("foreign.json", "is no saved run, for it has no 'eval'"),
        ("quality.json", "one has latency and quality: no evaluation in common"),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path, capsys, other, says):
    save(tmp_path, "latency.json")
    save(tmp_path, "quality.json", evaluation="quality")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "foreign.json").write_text("{}")
    assert compare.main([str(tmp_path / "latency.json"), str(tmp_path / other)]) == 2
    assert says in capsys.readouterr().out


def test_word_errors_that_are_rare_are_compared_by_their_mean(tmp_path):
    few = {f"s{number}": {"wer": 0.5 if number % 3 == 0 else 0.0} for number in range(60)}
    none = {f"s{number}": {"wer": 0.0} for number in range(60)}
    assert compare.compare(few, none)["wer"].better == "b"
