// A call that a program makes: over a WebSocket it says what to speak, and gets mouth and ear of the call as they sound,
// both on the audio clock of this page. Knows no transport: the page dials with `stream` and gives the agent's track.
//
//   const call = new MeasuredCall(new URLSearchParams(location.search).get("line"));
//   await call.open();                    // the clocks are compared, the recorder runs
//   ... publish call.stream, then for the agent's track: call.hear(mediaStreamTrack, () => receiver.getStats())
//   call.told(event)                      // what the agent tells: {name, at_s, ...}
//   call.ready()                          // the call is up

const BLOCK = 480; // 10 ms

const RECORDER = `
registerProcessor("measured", class extends AudioWorkletProcessor {
  constructor() { super(); this.at = 0; this.samples = new Int16Array(2 * ${BLOCK}) }
  process(inputs) {
    for (let i = 0; i < 128; i++) {
      for (let end = 0; end < 2; end++) {
        const channel = inputs[end]?.[0];
        const value = channel ? Math.max(-1, Math.min(1, channel[i])) : 0;
        this.samples[end * ${BLOCK} + this.at] = Math.round(32767 * value);
      }
      if (++this.at === ${BLOCK}) {
        this.port.postMessage({ end: currentFrame + i + 1, samples: this.samples });
        this.samples = new Int16Array(2 * ${BLOCK});
        this.at = 0;
      }
    }
    return true;
  }
})`;

export class MeasuredCall {
  constructor(address) {
    this.address = address;
    this.context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
    this.mouth = this.context.createGain();
    this.sent = this.context.createMediaStreamDestination();
    this.mouth.connect(this.sent);
    this.stats = null;
  }

  // The microphone, as WebRTC wants it.
  get stream() {
    return this.sent.stream;
  }

  async open() {
    this.socket = new WebSocket(this.address);
    this.socket.binaryType = "arraybuffer";
    await new Promise((done, failed) => { this.socket.onopen = done; this.socket.onerror = failed });
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.#do(JSON.parse(data)) : this.#say(data));
    await this.context.resume();
    await this.context.audioWorklet.addModule(URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" })));
    this.recorder = new AudioWorkletNode(this.context, "measured", { numberOfInputs: 2, numberOfOutputs: 0 });
    this.recorder.port.onmessage = ({ data }) => this.#keep(data);
    this.mouth.connect(this.recorder, 0, 0);
    const pulse = this.context.createConstantSource(); // without a source that runs the recorder may sleep
    pulse.offset.value = 0;
    pulse.connect(this.mouth);
    pulse.start();
  }

  // The agent's voice. `stats`: a function that resolves to its RTCStatsReport.
  hear(track, stats) {
    const stream = new MediaStream([track]);
    this.player = new Audio(); // without a player Chromium decodes nothing
    this.player.srcObject = stream;
    this.player.play();
    this.context.createMediaStreamSource(stream).connect(this.recorder, 0, 1);
    this.stats = stats;
  }

  told(event) {
    this.#send({ name: "told", event });
  }

  ready() {
    this.#send({ name: "ready" });
  }

  failed(error) {
    this.#send({ name: "failed", reason: String(error?.message ?? error) });
  }

  #send(message) {
    this.socket.send(JSON.stringify(message));
  }

  async #do(message) {
    if (message.do === "sync") this.#send({ name: "sync", sent_s: message.sent_s, page_s: performance.now() / 1000 });
    if (message.do === "packets") this.#send({ name: "packets", number: message.number, ...(await this.#packets()) });
  }

  // int16 at 48 kHz, spoken now.
  #say(data) {
    const pcm = new Int16Array(data);
    const buffer = this.context.createBuffer(1, pcm.length, 48000);
    buffer.copyToChannel(Float32Array.from(pcm, (sample) => sample / 32767), 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.mouth);
    source.onended = () => this.#send({ name: "said" });
    source.start();
  }

  // One binary message a block: the audio clock at its end and the page's clock now, seconds; then mouth and ear.
  #keep({ end, samples }) {
    const message = new ArrayBuffer(16 + samples.byteLength);
    new Float64Array(message, 0, 2).set([end / this.context.sampleRate, performance.now() / 1000]);
    new Int16Array(message, 16).set(samples);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(message);
  }

  async #packets() {
    const found = { received: 0, lost: 0, samples: 0 };
    for (const entry of (await this.stats?.())?.values() ?? []) {
      if (entry.type !== "inbound-rtp" || entry.kind !== "audio") continue;
      found.received += entry.packetsReceived;
      found.lost += entry.packetsLost;
      found.samples += entry.totalSamplesReceived;
    }
    return found;
  }
}
