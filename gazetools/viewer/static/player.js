// The player of one video: which frame is shown, with which heatmaps, and what may be drawn over them.
//
// Interface for tools such as the correction of boxes (the rest may change):
//   player.videoId, frameIndex, frameCount, times (Float64Array of pts in seconds), size {width, height}, playing
//   player.on(name, handler) -> function that removes it
//       "open"   a video was opened: handler({ id, facts })        "close"  it is closed
//       "frame"  a frame was drawn: handler({ frameIndex, seconds }); seconds from the first frame
//       "rows"   heatmaps and boxes of the shown frame have arrived (redrawn already)
//       "people" somebody was switched on or off                   "resize" the stages have another size
//   player.rows(source = 0, frame = player.frameIndex)   rows of maps.js, switched off people included; null: not loaded
//   player.stages                                        one Stage (stage.js) per source; the first is that of PATH
//   player.addLayer({ name, draw(context, view) })       on every stage, above heat, boxes and gaze; -> removes it
//   player.layers                                        {heat, boxes, gaze}: booleans, switched by keys and buttons
//   player.redraw()                                      draw the layers again
//   player.show(frame), step(count), play(), pause(), toggle()
//   player.tools                                         element of the toolbar for further buttons
//   player.notice(name, words, kind = "note")            a sentence above the stage; empty words remove it
//   player.reload()                                      open the same video again, at the same frame
// Keys: keys.js. Requests that change something: post() of server.js.

import { MapStream } from "./maps.js";
import { paintBoxes, paintGaze, paintHeat } from "./paint.js";
import { Film, Stills, nearest } from "./pictures.js";
import { address, get, getBytes, post } from "./server.js";
import { Stage } from "./stage.js";

const HEIGHTS = [240, 360, 540, 720, 1080, 1440, 2160];

export class Player {
  constructor({ stages, notices, tools }) {
    this.handlers = new Map();
    this.stagesElement = stages;
    this.noticesElement = notices;
    this.tools = tools;
    this.stages = [];
    this.extraLayers = [];
    this.layers = { heat: true, boxes: true, gaze: true };
    this.opacity = 0.65;
    this.hidden = new Set();
    this.rate = 1;
    this.sound = false;
    this.#closeVideo();
    this.element = document.createElement("video");
    this.element.className = "film";
    this.element.playsInline = true;
    this.element.setAttribute("aria-hidden", "true");
    new ResizeObserver(() => this.#resized()).observe(stages);
  }

  // ---- events

  on(name, handler) {
    if (!this.handlers.has(name)) this.handlers.set(name, new Set());
    this.handlers.get(name).add(handler);
    return () => this.handlers.get(name).delete(handler);
  }

  #tell(name, detail = {}) {
    for (const handler of this.handlers.get(name) ?? []) handler(detail);
  }

  notice(name, words, kind = "note") {
    const place = [...this.noticesElement.children].find((one) => one.dataset.name === name);
    if (!words) return place?.remove();
    const box = place ?? document.createElement("p");
    box.dataset.name = name;
    box.className = `banner ${kind}`;
    if (box.textContent !== words) box.textContent = words;
    if (!place) this.noticesElement.append(box);
    return undefined;
  }

  // ---- opening

  async open(id, frame = 0) {
    this.close();
    const opening = (this.opening = Symbol(id));
    this.videoId = id;
    this.notice("opening", `Opening ${id} …`);
    try {
      const facts = await get("/api/video", { id });
      if (opening !== this.opening) return;
      this.facts = facts;
      this.streams = facts.sources.map((one, source) => new MapStream(id, source, one));
      this.#makeStages(facts);
      const times = await this.#timesOf(id, facts);
      if (opening !== this.opening) return;
      this.times = times;
      this.frameCount = times.length;
    } catch (error) {
      if (opening === this.opening) this.notice("opening", error.message, "error");
      return;
    }
    this.notice("opening", "");
    if (this.facts.video.way !== "none") this.stills = new Stills(id, this.frameCount, this.#paintedHeight());
    this.way = this.facts.video.way;
    this.#tell("open", { id, facts: this.facts });
    if (this.way === "proxy") this.#makeProxy(this.facts.video.words);
    if (this.frameCount) await this.show(frame);
    else this.notice("opening", "These heatmaps have no frames.", "warning");
  }

  close() {
    if (this.videoId !== null) this.#tell("close");
    this.pause();
    this.stills?.close();
    this.film?.close();
    this.#closeVideo();
    this.noticesElement.replaceChildren();
  }

  reload() {
    return this.videoId === null ? undefined : this.open(this.videoId, this.frameIndex);
  }

  #closeVideo() {
    Object.assign(this, { videoId: null, facts: null, times: new Float64Array(0), frameCount: 0, frameIndex: 0, wanted: 0 });
    Object.assign(this, { streams: [], stills: null, film: null, playing: false, way: "none", turn: 0, showing: null });
    Object.assign(this, { opening: null, image: null });
    this.hidden.clear();
  }

  async #timesOf(id, facts) {
    const times = new Float64Array(await getBytes("/api/times", { id }));
    const counts = facts.sources.map((one) => one.frame_count ?? 0);
    if (facts.video.way === "none") {
      this.notice("video", `The heatmaps are shown alone. ${facts.video.words}`, "warning");
      if (times.some(Number.isNaN)) return Float64Array.from(times, (_, i) => i / 30);
    } else if (Math.max(...counts) > times.length) {
      const words = `There are heatmaps of ${Math.max(...counts)} frames, but the video has ${times.length}.`;
      this.notice("count", `${words} Run gazetools validate with --videos.`, "error");
    }
    return times;
  }

  #makeStages(facts) {
    const [height, width] = facts.video.height
      ? [facts.video.height, facts.video.width]
      : facts.sources.find((one) => one.size_hw)?.size_hw ?? [9, 16];
    this.size = { width, height };
    this.stages = facts.sources.map((one) => new Stage(`${one.name}${one.model ? ` (${one.model})` : ""}`));
    this.stagesElement.replaceChildren(...this.stages.map((stage) => stage.element));
    this.stagesElement.dataset.count = String(this.stages.length);
    if (this.stages.length) this.stages[0].box.prepend(this.element);
    this.stages.forEach((stage, source) => {
      for (const layer of [...this.#ownLayers(), ...this.extraLayers]) stage.addLayer(layer);
      if (facts.sources[source].problem) this.notice(`source${source}`, facts.sources[source].problem, "error");
    });
    this.#sizeStages();
  }

  #sizeStages() {
    for (const stage of this.stages) stage.setSize(this.size.width, this.size.height, this.#paintedHeight());
  }

  #paintedHeight() {
    const ratio = window.devicePixelRatio || 1;
    const wanted = ((this.stages[0]?.box.clientWidth || 640) * ratio * this.size.height) / this.size.width;
    return Math.min(HEIGHTS.find((one) => one >= wanted) ?? HEIGHTS.at(-1), this.size.height);
  }

  #resized() {
    if (!this.stages.length) return;
    if (this.stills && !this.playing && this.#paintedHeight() > this.stills.height) {
      this.stills.close();
      this.stills = new Stills(this.videoId, this.frameCount, this.#paintedHeight());
      this.#sizeStages();
      this.show(this.frameIndex);
    }
    this.redraw();
    this.#tell("resize");
  }

  // ---- layers

  #ownLayers() {
    const painted = (name, paint) => ({
      name,
      draw: (context, view) => this.layers[name] && view.rows && paint(context, view.rows, view.width, view.height, this.opacity),
    });
    return [painted("heat", paintHeat), painted("boxes", paintBoxes), painted("gaze", paintGaze)];
  }

  addLayer(layer) {
    this.extraLayers.push(layer);
    const removers = this.stages.map((stage) => stage.addLayer(layer));
    this.redraw();
    return () => {
      this.extraLayers.splice(this.extraLayers.indexOf(layer), 1);
      for (const remove of removers) remove();
      this.redraw();
    };
  }

  rows(source = 0, frame = this.frameIndex) {
    return this.streams[source]?.rows(frame) ?? null;
  }

  redraw() {
    this.stages.forEach((stage, source) => {
      const rows = this.rows(source);
      const shown = rows && rows.filter((row) => !this.hidden.has(row.track));
      stage.redraw({ source, frameIndex: this.frameIndex, rows: shown, player: this });
    });
  }

  setHidden(track, hidden) {
    if (hidden) this.hidden.add(track);
    else this.hidden.delete(track);
    this.redraw();
    this.#tell("people");
  }

  // Draw a frame: picture and layers in one task, so that no mixture of two frames is ever seen.
  #draw(frame, image) {
    this.frameIndex = frame;
    this.image = image;
    for (const stage of this.stages) stage.paintPicture(image);
    this.redraw();
    const missing = this.streams.filter((stream) => stream.rows(frame) === null);
    if (missing.length) this.#awaitRows(frame, missing);
    for (const stream of this.streams) if (this.playing) stream.prefetch(frame, this.frameCount);
    this.#sayDamaged();
    this.#tell("frame", { frameIndex: frame, seconds: this.times[frame] - this.times[0] });
  }

  #sayDamaged() {
    const count = this.streams.reduce((sum, stream) => sum + stream.damaged, 0);
    if (count) this.notice("damaged", `${count} of the heatmaps read so far have numbers that are not finite, which are drawn as 0.`, "warning");
  }

  async #awaitRows(frame, missing) {
    try {
      await Promise.all(missing.map((stream) => stream.load(frame)));
      this.notice("rows", "");
    } catch (error) {
      this.notice("rows", error.message, "error");
      return;
    }
    this.#sayDamaged();
    if (frame === this.frameIndex) this.redraw();
    this.#tell("rows");
  }

  // ---- one frame

  // Show exactly this frame; the last call counts where several come before the first is there.
  async show(frame) {
    this.pause();
    this.wanted = Math.max(0, Math.min(Math.round(frame), this.frameCount - 1));
    if (!this.showing) {
      const showing = (this.showing = this.#showWanted().finally(() => {
        if (this.showing === showing) this.showing = null;
      }));
    }
    return this.showing;
  }

  step(count) {
    return this.show((this.showing ? this.wanted : this.frameIndex) + count);
  }

  async #showWanted() {
    const { opening } = this; // the same video may be opened again meanwhile
    for (;;) {
      const frame = this.wanted;
      let image = null;
      try {
        const loads = this.streams.map((stream) => stream.load(frame));
        image = this.stills ? await this.stills.get(frame) : null;
        await Promise.allSettled(loads); // a frame that is stepped to comes with its maps
        if (opening === this.opening) this.notice("still", "");
      } catch (error) {
        if (opening === this.opening) this.notice("still", error.message, "error");
      }
      if (opening !== this.opening || this.playing) return;
      this.#draw(frame, image);
      if (frame === this.wanted) break;
    }
    this.stills?.prefetch(this.frameIndex);
    for (const stream of this.streams) stream.prefetch(this.frameIndex, this.frameCount);
  }

  // ---- playing

  toggle() {
    return this.playing ? this.show(this.frameIndex) : this.play();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.turn += 1;
    this.film?.stop();
    this.#tell("pause");
  }

  play() {
    if (this.playing || !this.frameCount) return;
    this.playing = true;
    const turn = (this.turn += 1);
    const first = this.frameIndex >= this.frameCount - 1 ? 0 : this.frameIndex;
    this.#tell("play");
    if (this.way === "direct" || this.way === "ready") this.#playFilm(first, turn);
    else this.#playStills(first, turn);
  }

  async #playFilm(first, turn) {
    const direct = this.way === "direct";
    const mine = () => turn === this.turn && this.playing;
    const fail = (words) => {
      if (!mine()) return;
      this.film?.close();
      this.film = null;
      if (direct) this.#makeProxy(words);
      else this.#onlyStills(words);
      this.#playStills(this.frameIndex, turn);
    };
    try {
      if (!this.film) {
        const path = address(direct ? "/api/media" : "/api/proxy/file", { id: this.videoId });
        const film = new Film(this.element, path, this.times, [0, this.facts.video.start_seconds, this.times[0]]);
        const still = await this.stills.get(0);
        await film.prepare(still);
        if (!mine()) return;
        this.film = film;
      }
    } catch (error) {
      fail(error.message);
      return;
    }
    this.film.play(first, {
      rate: this.rate,
      muted: !this.sound,
      onFrame: (frame, image) => mine() && this.#draw(frame, image),
      onEnd: () => mine() && this.show(this.frameCount - 1),
      onFail: fail,
    });
  }

  #onlyStills(words) {
    this.way = "stills";
    this.notice("way", `${words} Playing shows the server's stills, which may leave frames out.`, "warning");
  }

  async #playStills(first, turn) {
    const begun = performance.now();
    const from = this.times[first];
    const mine = () => turn === this.turn && this.playing;
    let last = -1;
    while (mine()) {
      const seconds = from + ((performance.now() - begun) / 1000) * this.rate;
      let frame = nearest(this.times, seconds);
      if (this.times[frame] > seconds && frame > first) frame -= 1;
      if (frame === last) {
        if (frame >= this.frameCount - 1) return this.show(frame);
        await new Promise(requestAnimationFrame);
        continue;
      }
      try {
        const image = this.stills ? await this.stills.get(frame) : null;
        if (!mine()) return undefined;
        this.#draw(frame, image);
      } catch (error) {
        this.notice("still", error.message, "error");
        return this.pause();
      }
      last = frame;
      this.stills?.get(Math.min(frame + 1, this.frameCount - 1)).catch(() => {});
      if (!this.stills) await new Promise(requestAnimationFrame);
    }
    return undefined;
  }

  // A copy that the browser plays; until it is there, stills are played.
  async #makeProxy(words) {
    const { videoId: id, opening } = this;
    this.way = "proxy";
    const why = words[0].toUpperCase() + words.slice(1).replace(/\.$/, "");
    try {
      await post("/api/proxy", { id });
      for (;;) {
        const state = await get("/api/proxy", { id });
        if (opening !== this.opening) return;
        if (state.state === "ready") break;
        if (state.state === "failed") throw new Error(state.words);
        const share = state.total ? Math.floor((100 * state.done) / state.total) : 0;
        this.notice("way", `${why}. A copy for playing is being made, frame for frame: ${share} %. Until then stills are played.`);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      this.way = "ready";
      this.notice("way", `${why}. A copy is played, frame for frame; a still frame is always from the file itself.`);
    } catch (error) {
      if (opening !== this.opening) return;
      this.#onlyStills(`${why}. ${error.message}`);
    }
  }
}
