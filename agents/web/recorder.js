// Hands both inputs, the mouth (0) and the ear (1), to the page in blocks of one clock: the AudioContext's.
class Recorder extends AudioWorkletProcessor {
  process(inputs) {
    const channel = (input) => (input && input[0] ? input[0].slice() : new Float32Array(128));
    this.port.postMessage({ frame: currentFrame, mouth: channel(inputs[0]), ear: channel(inputs[1]) });
    return true;
  }
}
registerProcessor("recorder", Recorder);
