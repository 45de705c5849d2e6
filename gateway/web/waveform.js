// Draws the envelope of what arrived, with what was played in the accent colour.

import { BAR_SECONDS } from "./envelope.js";

/** CSS pixels from one column to the next, and how wide a column is. */
const COLUMN_STEP = 4;
const COLUMN_WIDTH = 2.5;

/** Seconds that the whole width stands for while there is less speech than that, so that the wave visibly grows. */
const SHORTEST_SECONDS = 8;

/** Height of a column of silence, as a part of the canvas. */
const FLOOR = 0.06;

export class Waveform {
  #canvas;
  #colours = null;

  constructor(canvas) {
    this.#canvas = canvas;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.#colours = null; });
  }

  /** Seconds that the canvas spans for a speech of this length, which may still be growing. */
  static span(seconds, growing) {
    return growing ? Math.max(seconds, SHORTEST_SECONDS) : seconds;
  }

  /** Draw `bars` over `span` seconds; what lies between `start` and `position`, in seconds, counts as played. */
  draw({ bars, span, position, start = 0 }) {
    const { width, height } = this.#resize();
    const paint = this.#canvas.getContext("2d");
    const columns = Math.floor(width / COLUMN_STEP);
    const colours = (this.#colours ??= this.#readColours());
    paint.clearRect(0, 0, width, height);
    for (let column = 0; column < columns; column += 1) {
      const from = (column / columns) * span;
      const level = loudest(bars, from, ((column + 1) / columns) * span);
      const tall = Math.max(FLOOR, level) * height;
      paint.fillStyle = from >= start && from < position ? colours.played : level > 0 ? colours.waiting : colours.empty;
      paint.beginPath();
      paint.roundRect(column * COLUMN_STEP, (height - tall) / 2, COLUMN_WIDTH, tall, COLUMN_WIDTH / 2);
      paint.fill();
    }
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = globalThis.devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * scale) || this.#canvas.height !== Math.round(height * scale)) {
      this.#canvas.width = Math.round(width * scale);
      this.#canvas.height = Math.round(height * scale);
    }
    this.#canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    return { width, height };
  }

  #readColours() {
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    return { played: colour("--accent"), waiting: colour("--wave"), empty: colour("--line") };
  }
}

function loudest(bars, from, to) {
  let level = 0;
  const last = Math.min(bars.length, Math.max(Math.ceil(to / BAR_SECONDS), Math.floor(from / BAR_SECONDS) + 1));
  for (let index = Math.floor(from / BAR_SECONDS); index < last; index += 1) level = Math.max(level, bars[index]);
  return level;
}
