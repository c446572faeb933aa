// A scripted caller for a browser without a microphone: asks, listens, interrupts, listens, by what it hears.
// The speech comes from the agent's machine (api/speech/N); the recording goes back there (api/recording).

const LOUD = 10 ** (-45 / 20);

export class Caller {
  constructor(line) {
    this.line = line;
    this.mouth = line.context.createGain();
    this.sent = line.context.createMediaStreamDestination();
    this.mouth.connect(this.sent);
    this.quietMs = 0;
    this.heardMs = 0;
    this.waiting = [];
    line.addEventListener("sound", ({ detail }) => this.#hear(detail));
  }

  get stream() {
    return this.sent.stream;
  }

  async speech(number) {
    const bytes = await (await fetch(`api/speech/${number}`)).arrayBuffer();
    return this.line.context.decodeAudioData(bytes);
  }

  // Ask `question`, let `heardMs` of the reply be heard, talk over it, hear the answer; `rounds` times.
  async converse({ question, interruption, heardMs, answerMs, rounds, told }) {
    await this.#until(() => this.quietMs >= 600);
    for (let round = 0; round < rounds; round++) {
      told("asks", { frame: await this.#say(question) });
      this.#reset();
      await this.#until(() => this.heardMs >= heardMs);
      this.#reset();
      told("interrupts", { frame: await this.#say(interruption) });
      await this.#until(() => this.quietMs >= 600);
      this.#reset();
      await this.#until(() => this.heardMs >= 100);
      told("hears_answer", {});
      await this.#until(() => this.heardMs >= answerMs || this.quietMs >= 1500);
      await this.#until(() => this.quietMs >= 600);
    }
    told("hangs_up", {});
  }

  // Speaks; resolves when it is said, with the sample of the audio clock at which it began.
  #say(buffer) {
    const source = this.line.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.mouth);
    const at = this.line.context.currentTime;
    source.start(at);
    return new Promise((said) => (source.onended = () => said(Math.round(at * this.line.context.sampleRate))));
  }

  #reset() {
    this.quietMs = this.heardMs = 0;
  }

  #hear({ ear, ms }) {
    if (ear > LOUD) {
      this.heardMs += ms;
      this.quietMs = 0;
    } else this.quietMs += ms;
    this.waiting = this.waiting.filter(({ condition, done }) => !(condition() && (done(), true)));
  }

  #until(condition) {
    return new Promise((done) => this.waiting.push({ condition, done }));
  }
}
