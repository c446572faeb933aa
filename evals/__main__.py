"""python -m evals COMMAND: parse the first word, hand the rest to the evaluation of that name. Knows nothing else.

Each command is a module with `main(argv) -> int`, imported when it is asked for; 0 = passed, 1 = a gate failed, 2 = it
could not run here.
"""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "yours": ("evals.yours", "latency, barge-in and quality of your TTS, one page"),
    "barge-in": ("evals.barge_in", "does it stop when the caller talks, and only then"),
    "onset": ("evals.onset", "how soon a caller is suspected to speak, and how often wrongly"),
    "live": ("evals.live.run", "the same in a real call: a LiveKit room, Chromium in one, Chromium over Pipecat"),
    "latency": ("evals.latency", "how soon and how evenly, under load"),
    "quality": ("evals.quality", "is it understood: WER, CER, MOS, similarity"),
    "recording": ("evals.recording", "any agent, from a two-track recording of a call"),
    "prefix": ("evals.prefix", "what the prefix cache saves over realistic voices and turns"),
    "isolation": ("evals.isolation", "what an engine in its own process leaves of the event loop, and what it costs"),
    "soak": ("evals.soak.run", "thousands of interruptions: is anything left behind, heard late, or growing"),
    "ttfa": ("evals.ttfa", "time to first audio against text length"),
    "gpu": ("evals.gpu.run", "one frame of an S2-Pro-shaped model on a GPU, against the floor its memory sets"),
    "side-by-side": (
        "evals.side_by_side",
        "the same interruptions around each TTS: what ours adds and what it does not",
    ),
    "compare": ("evals.compare", "two runs, or two folders of them, paired, with a verdict"),
    "peers": ("evals.peers.listing", "which TTS can be evaluated here, and what each cannot do"),
    "all": ("evals.everything", "a set of these, for this engine and its peers; one report"),
}

STOPPED = 130


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        asked_for = argv[:1] in ([], ["--help"], ["-h"])
        where = sys.stdout if asked_for else sys.stderr
        print("python -m evals COMMAND [options]; --help after a command shows its options\n", file=where)
        for name, (_, says) in COMMANDS.items():
            print(f"  {name:<13}{says}", file=where)
        return 0 if asked_for else 2
    try:
        return int(import_module(COMMANDS[argv[0]][0]).main(argv[1:]))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
