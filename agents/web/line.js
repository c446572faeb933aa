// One call: connects to the agent, plays it, and keeps what the mouth said and the ear heard, sample by sample.
// Knows sound and clocks; what is shown is index.html's business, what a scripted caller says caller.js's.

import { dialAgent } from "./peer.js";

const AUDIBLE = { mouth: 10 ** (-36 / 20), ear: 10 ** (-50 / 20) };
const KEPT_S = 60;

export class Line extends EventTarget {
  constructor() {
    super();
    this.context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
    this.blocks = [];
    this.keepAll = false;
    this.agentMinusPage = 0;
    this.pageMinusAudio = Infinity;
  }

  // Seconds of the agent's clock at AudioContext time 0. The audio clock moves in jumps and may start late and catch up:
  // the moment at which it lagged least counts, so this gets better while the call runs.
  get clockOffset() {
    return this.agentMinusPage + this.pageMinusAudio;
  }

  // Calls the agent with `stream` as the mouth. `tap` is where its sound can be had without the delay of a stream.
  async dial(stream, tap = null) {
    await this.context.resume();
    await this.#syncClock();
    await this.context.audioWorklet.addModule("recorder.js");
    this.recorder = new AudioWorkletNode(this.context, "recorder", { numberOfInputs: 2, numberOfOutputs: 0 });
    this.recorder.port.onmessage = ({ data }) => this.#keep(data);
    (tap ?? this.context.createMediaStreamSource(stream)).connect(this.recorder, 0, 0);

    this.end = await dialAgent(stream.getAudioTracks()[0], {
      heard: (track) => this.#hear(track),
      told: (message) => this.#emit("message", message),
      state: (name) => this.#emit("state", name),
    });
  }

  hangUp() {
    this.end?.();
    this.context.close();
  }

  // Mouth onset and silence at the ear of one interruption, in seconds of the agent's clock.
  measure(row) {
    const decision = row.decision_s - this.clockOffset;
    const onset = this.#onset("mouth", decision - 2.5, decision);
    const silence = this.#lastAudible("ear", onset ?? decision - 0.5, (row.cleared_s ?? row.decision_s) - this.clockOffset + 0.5);
    const agentTime = (s) => (s === null ? null : s + this.clockOffset);
    return { onset_s: agentTime(onset), silence_s: agentTime(silence) };
  }

  // Everything kept so far: [mouth, ear] at the context's rate, and the agent's time of the first sample.
  recording() {
    const first = this.blocks[0].frame;
    const length = this.blocks[this.blocks.length - 1].frame - first + 128;
    const samples = new Float32Array(2 * length);
    for (const block of this.blocks) {
      samples.set(block.mouth, block.frame - first);
      samples.set(block.ear, length + block.frame - first);
    }
    return { samples, first, start_s: first / this.context.sampleRate + this.clockOffset };
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #hear(track) {
    const stream = new MediaStream([track]);
    const player = new Audio(); // without a player Chrome decodes nothing
    player.srcObject = stream;
    player.play();
    this.player = player;
    this.context.createMediaStreamSource(stream).connect(this.recorder, 0, 1);
  }

  #keep(block) {
    this.blocks.push(block);
    this.pageMinusAudio = Math.min(this.pageMinusAudio, performance.now() / 1000 - this.context.currentTime);
    if (!this.keepAll && this.blocks.length * 128 > KEPT_S * this.context.sampleRate) this.blocks.shift();
    this.#emit("sound", { mouth: peak(block.mouth), ear: peak(block.ear), ms: (1000 * 128) / this.context.sampleRate });
  }

  // The agent's clock and the page's: the exchange with the shortest way there and back tells best.
  async #syncClock() {
    let shortest = Infinity;
    for (let index = 0; index < 12; index++) {
      const sent = performance.now();
      const { now } = await (await fetch("api/clock")).json();
      const trip = performance.now() - sent;
      if (trip < shortest) {
        shortest = trip;
        this.agentMinusPage = now - (sent + trip / 2) / 1000;
      }
    }
  }

  #between(name, from, to) {
    const rate = this.context.sampleRate;
    return this.blocks
      .filter((block) => block.frame / rate >= from && block.frame / rate < to)
      .map((block) => ({ at: block.frame / rate, loud: peak(block[name]) > AUDIBLE[name] }));
  }

  // The start of the last stretch of sound before `to` that has 300 ms of silence in front of it.
  #onset(name, from, to) {
    let onset = null;
    let quietSince = from;
    for (const { at, loud } of this.#between(name, from, to)) {
      if (!loud) continue;
      if (onset === null || at - quietSince > 0.3) onset = at;
      quietSince = at;
    }
    return onset;
  }

  #lastAudible(name, from, to) {
    const loud = this.#between(name, from, to).filter((block) => block.loud);
    return loud.length ? loud[loud.length - 1].at + 128 / this.context.sampleRate : null;
  }
}

function peak(samples) {
  let most = 0;
  for (const sample of samples) most = Math.max(most, Math.abs(sample));
  return most;
}
