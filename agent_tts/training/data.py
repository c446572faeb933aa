"""Makes the training corpus: sentences spoken by the teacher, in shards of flat arrays.

    <work>/data/sentences.txt          every sentence, in order
    <work>/data/shard-00007/           finished: ids.u8 ends.i32 audio.i16 f0.f16 index.npy texts.txt

A shard is written beside its place and renamed when complete, so that an interrupted run goes on
with the next one. Knows nothing of models.
"""

import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from agent_tts.training.sentences import training_sentences
from agent_tts.training.teacher import FRAME_SAMPLES, SAMPLE_RATE, Teacher, Utterance

LOG = logging.getLogger(__name__)
SHARD_SENTENCES = 1000
ARRAYS = {"ids": np.uint8, "ends": np.int32, "audio": np.int16, "f0": np.float16}
EVALS = Path(__file__).parents[2] / "configs" / "evals"


def make_corpus(folder: Path, hours: float, processes: int = 2) -> None:
    """Speak sentences until the folder holds that many hours; what is there already counts.

    Args:
        folder: Where `sentences.txt` and the shards lie.
        hours: Speech wanted, silence cut.
        processes: Workers, one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = _write_sentences(folder)
    todo = [n for n in range(count // SHARD_SENTENCES) if not shard_path(folder, n).exists()]
    done = sum(map(shard_hours, finished_shards(folder)))
    started, first = time.monotonic(), done
    if done >= hours:
        LOG.info("data: %.1f h are there, nothing to do", done)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, gained in pool.imap_unordered(_make_shard, [(folder, n) for n in todo]):
            done += gained
            speed = (done - first) * 3600 / (time.monotonic() - started)
            LOG.info("data: shard %d, %.1f of %.1f h, %.0f x real time", number, done, hours, speed)
            if done >= hours:
                break


def shard_path(folder: Path, number: int) -> Path:
    """Where a finished shard lies."""
    return folder / f"shard-{number:05d}"


def finished_shards(folder: Path) -> list[Path]:
    """Complete shards, in order."""
    return sorted(path for path in folder.glob("shard-?????") if (path / "index.npy").exists())


def shard_hours(path: Path) -> float:
    """Speech in one shard."""
    return (path / "audio.i16").stat().st_size / 2 / SAMPLE_RATE / 3600


def _write_sentences(folder: Path) -> int:
    path = folder / "sentences.txt"
    if not path.exists():
        LOG.info("data: collecting sentences")
        partial = path.with_suffix(".partial")
        partial.write_text("\n".join(training_sentences(EVALS)), encoding="utf-8")
        partial.rename(path)
    return len(path.read_text(encoding="utf-8").splitlines())


def _make_shard(job: tuple[Path, int]) -> tuple[int, float]:
    folder, number = job
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    lines = (folder / "sentences.txt").read_text(encoding="utf-8").splitlines()
    teacher, rng = Teacher(), np.random.default_rng(number)
    wanted = lines[number * SHARD_SENTENCES : (number + 1) * SHARD_SENTENCES]
    spoken = (teacher.speak(text, rng) for text in wanted)
    path = shard_path(folder, number)
    _write_shard(path, (utterance for utterance in spoken if utterance is not None))
    return number, shard_hours(path)


def _write_shard(path: Path, utterances: Iterable[Utterance]) -> None:
    partial = path.with_name(path.name + f".partial{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    files = {name: (partial / f"{name}.{_suffix(dtype)}").open("wb") for name, dtype in ARRAYS.items()}
    index, texts = [], []
    for utterance in utterances:
        index.append((len(utterance.ids), len(utterance.audio) // FRAME_SAMPLES))
        texts.append(utterance.text)
        for name, file in files.items():
            file.write(getattr(utterance, name).tobytes())
    for file in files.values():
        file.close()
    (partial / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    np.save(partial / "index.npy", np.asarray(index, np.int64))
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def _suffix(dtype: type) -> str:
    return np.dtype(dtype).kind + str(np.dtype(dtype).itemsize * 8)
