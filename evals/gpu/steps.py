"""Sections about one step: is it right on this device, what does it hold, how long do its parts and the whole take."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from agent_tts.nn.graphs import PlainCalls
from agent_tts.runtime.static_step import StaticStep
from evals.gpu import lab as labs
from evals.gpu.drive import STEADY
from evals.gpu.floor import datasheet_gb_s, floor_ms, frame_bytes
from evals.gpu.lab import CONTEXT, Lab
from evals.gpu.model import SENTENCE, build

CHECK_FRAMES = 20
Figures = dict[str, Any]


def check(lab: Lab) -> Figures:
    """A tiny model in float32, speakers joining one by one: this device's static step against a CPU's dynamic one.

    Columns must be equal; a draw may fall the other way where two candidates tie within rounding, so the number of
    speakers whose columns differ is reported and how far they agreed.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        cpu, here = (spoken(torch.device(kind), step) for kind, step in (("cpu", "dynamic"), _here(lab)))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    equal = [columns == others for (columns, _), (others, _) in zip(cpu, here, strict=True)]
    errors = [
        float(np.abs(pcm - other).max()) for same, (_, pcm), (_, other) in zip(equal, cpu, here, strict=True) if same
    ]
    return {
        "speakers": len(equal),
        "equal_columns": sum(equal),
        "frames_each": CHECK_FRAMES,
        "pcm_max_error": max(errors, default=None),
    }


def memory(lab: Lab) -> Figures:
    """Bytes of weights, KV and graphs; the peak so far. Counted on a GPU by its allocator."""
    weights = {
        name: sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
        for name, module in (("model", lab.built.model), ("codec", lab.built.codec))
    }
    pool = lab.runner.parts.pool
    found: Figures = {f"{name}_gb": size / 1e9 for name, size in weights.items()}
    found["kv_gb"] = 2 * pool.k.numel() * pool.k.element_size() / 1e9
    found["kv_positions"] = pool.num_pages * pool.page_size
    if lab.device.type == "cuda":
        found["allocated_gb"] = torch.cuda.memory_allocated(lab.device) / 1e9
        found["reserved_gb"] = torch.cuda.memory_reserved(lab.device) / 1e9
        found["peak_allocated_gb"] = torch.cuda.max_memory_allocated(lab.device) / 1e9
    return found


def floor(lab: Lab) -> Figures:
    """Copy bandwidth as measured (bytes read and written), and the floor of one step from the bytes it must read."""
    size = 2**32 if lab.device.type == "cuda" else 2**24
    source, target = (torch.randint(256, (size,), dtype=torch.uint8, device=lab.device) for _ in range(2))
    copy = lab.clock.on_device(partial(target.copy_, source), lab.effort.repeats)
    measured = 2 * size / float(copy["p50"] or 1) / 1e6
    del source, target
    name = torch.cuda.get_device_name(lab.device) if lab.device.type == "cuda" else "cpu"
    datasheet = datasheet_gb_s(name)
    step = frame_bytes(lab.built.model, lab.built.codec, lab.dtype.itemsize)
    found: Figures = {"device": name, "copy_gb_s": measured, "datasheet_gb_s": datasheet}
    found |= {"slow_gb": step.slow / 1e9, "fast_gb": step.fast / 1e9, "codec_gb": step.codec / 1e9}
    for rows in lab.effort.batches:
        total = step.total(rows, CONTEXT)
        found[f"rows_{rows}"] = {
            "gb": total / 1e9,
            "ms_at_copy": floor_ms(total, measured),
            "ms_at_datasheet": floor_ms(total, datasheet) if datasheet else None,
        }
    return found


def decode(lab: Lab) -> Figures:
    """Milliseconds of a step for each batch size: on the device slow, fast (head and draws included) and codec apart;
    as a whole by the wall, from plan to PCM on the host, with graphs, with the same kernels launched one by one, and
    with the shapes of the moment. RTF = whole step / audio of one frame."""
    found: Figures = {}
    for rows in lab.effort.batches:
        found[f"rows_{rows}"] = one = _parts(lab, rows) | _whole(lab, rows)
        whole = one["step_ms"]["p50"]
        one["rtf"] = whole / lab.built.model.config.frame_ms
        one["real_time_streams"] = rows / one["rtf"]
        print(
            f"  {rows:3} rows: slow {one['slow_ms']['p50']:.2f}  fast {one['fast_ms_p50']:.2f}  "
            f"codec {one['codec_ms']['p50']:.2f}  step {whole:.2f} ms  RTF {one['rtf']:.3f}",
            flush=True,
        )
    return found


def context(lab: Lab) -> Figures:
    """The Slow AR's milliseconds on the device for each bound of the context, all rows at its end: what masked and
    gathered KV costs. Each row reads pages of its own."""
    lab.leave()
    found: Figures = {}
    for rows in (lab.effort.batches[0], lab.effort.batches[-2]):
        buffers, num_pages = lab.static.buffers[rows], lab.runner.parts.pool.num_pages
        table = buffers.sizes.table
        buffers.host.pages[:] = np.arange(rows * table).reshape(rows, table) % num_pages
        for bound in lab.static.contexts:
            buffers.host.positions[:] = bound - 1
            buffers.send(0)
            lab.clock.wait()
            found[f"rows_{rows}_context_{bound}_ms"] = _slow(lab, rows, bound)["p50"]
    return found


def _slow(lab: Lab, rows: int, bound: int) -> Figures:
    launcher = lab.static.launcher
    return lab.clock.on_device(lambda: launcher.launch(("slow", rows, bound)), lab.effort.repeats)


def _parts(lab: Lab, rows: int) -> Figures:
    static, parts = lab.static, lab.runner.parts
    lab.drive.step(lab.speakers(rows))  # the buffers now hold real rows
    fields = static.buffers[rows].device
    codes = fields.columns[:, 1:].clone()
    ends = torch.zeros(rows, dtype=torch.bool, device=lab.device)

    @torch.inference_mode()
    def codec() -> None:
        parts.speak(codes, ends, fields.slots)

    static.launcher.prepare(("codec", rows), codec)
    speak, alone = (
        lab.clock.on_device(lambda key=key: static.launcher.launch((key, rows)), lab.effort.repeats)
        for key in ("speak", "codec")
    )
    return {
        "slow_ms": _slow(lab, rows, lab.bound),
        "speak_ms": speak,
        "codec_ms": alone,
        "fast_ms_p50": float(speak["p50"] or 0) - float(alone["p50"] or 0),
    }


def _whole(lab: Lab, rows: int) -> Figures:
    runner, static = lab.runner, lab.static
    plain = StaticStep(runner.parts, lab.config.max_slots, static.contexts[-1], PlainCalls())
    found: Figures = {}
    few = max(3, lab.effort.repeats // 4)
    for name, way, repeats in (
        ("step_ms", static, lab.effort.repeats),
        ("plain_ms", plain, few),
        ("dynamic_ms", None, few),
    ):
        if way is plain:
            plain.prepare(rows, lab.bound)
        runner.static = way
        speakers = lab.speakers(rows)
        found[name] = lab.clock.by_wall(lambda who=speakers: lab.drive.step(who), repeats)
    runner.static = static
    return found


def _here(lab: Lab) -> tuple[str, str]:
    return (str(lab.device), "graphs" if lab.device.type == "cuda" else "static")


def spoken(device: torch.device, step: str) -> list[tuple[list[tuple[int, ...]], np.ndarray]]:
    """Columns and audio of each speaker of a tiny model."""
    built = build(torch.device("cpu"), torch.float32, tiny=True)
    built.model.to(device)
    built.codec.to(device)
    config = labs.engine_config(device, torch.float32, labs.TINY, step)
    runner = labs.make_runner(built, config)
    layout = built.layout
    drive = labs.Drive(runner, config.page_size, labs.TINY.num_pages // config.max_slots, STEADY)
    speakers: list[labs.Speaker] = []
    for number in range(CHECK_FRAMES + 3 * config.max_slots):
        if number % 3 == 0 and len(speakers) < config.max_slots:
            prompt = layout.voice([built.voice(2.0 + len(speakers))]) + layout.ask(SENTENCE)
            speakers.append(drive.open(len(speakers), prompt))
        drive.step(speakers)
    return [
        (speaker.frames[:CHECK_FRAMES], np.concatenate([result.pcm for result in speaker.results]))
        for speaker in speakers
    ]
