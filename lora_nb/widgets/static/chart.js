// Curves over steps, as a drawing that fits its place.

const DRAWING = "http://www.w3.org/2000/svg";
const EDGE = { left: 52, right: 12, top: 8, bottom: 22 };

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS(DRAWING, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * A chart. `draw({lines, steps, top})` shows lines, each `{points: [[step, value]], kind, dots}`, where `kind` is its class
 * in the style sheet. `onpoint(step)` hears at which step the pointer is.
 */
export class Chart {
  constructor({ height = 220, label, onpoint = () => {} }) {
    this.height = height;
    this.element = drawn("svg", { class: "ln-chart", role: "img", "aria-label": label });
    this.element.addEventListener("pointermove", (event) => this.drawn && onpoint(this.stepAt(event)));
    this.element.addEventListener("pointerleave", () => onpoint(null));
    this.watcher = new ResizeObserver(() => this.drawn && this.draw(this.drawn));
    this.watcher.observe(this.element);
  }

  close() {
    this.watcher.disconnect();
  }

  describe(label) {
    this.element.setAttribute("aria-label", label);
  }

  stepAt(event) {
    const box = this.element.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
    return Math.round(Math.min(1, Math.max(0, share)) * this.drawn.steps);
  }

  draw(what) {
    this.drawn = what;
    const width = Math.max(200, this.element.clientWidth || 600);
    const { height } = this;
    const [inside, tall] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
    const x = (step) => EDGE.left + (step / Math.max(1, what.steps)) * inside;
    const y = (value) => EDGE.top + tall - (Math.min(value, what.top) / (what.top || 1)) * tall;
    const parts = [];
    for (const value of niceTicks(what.top, height > 120 ? 4 : 2)) {
      parts.push(drawn("line", { class: "ln-chart-rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
      parts.push(drawn("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, shortNumber(value)));
    }
    for (const step of niceTicks(what.steps, Math.max(2, Math.floor(inside / 90))))
      parts.push(drawn("text", { x: x(step), y: height - 6, "text-anchor": "middle" }, String(step)));
    for (const line of what.lines) {
      const points = thin(line.points, inside, what.steps);
      const path = points.map(([step, value], at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      const dense = points.length > inside ? " ln-dense" : "";
      if (path) parts.push(drawn("path", { class: `ln-line ${line.kind}${dense}`, d: path }));
      if (line.dots || line.points.length === 1)
        for (const [step, value] of points) parts.push(drawn("circle", { class: `ln-dot ${line.kind}`, cx: x(step), cy: y(value), r: 3.5 }));
    }
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.element.setAttribute("height", height);
    this.element.replaceChildren(...parts);
  }
}

/** Of more points than there are pixels, the lowest and the highest of each pixel: no spike gets lost. */
export function thin(points, pixels, steps) {
  if (points.length <= 2 * pixels) return points;
  const columns = new Map();
  for (const point of points) {
    const column = Math.floor((point[0] / steps) * pixels);
    const known = columns.get(column);
    if (!known) columns.set(column, [point, point]);
    else if (point[1] < known[0][1]) known[0] = point;
    else if (point[1] > known[1][1]) known[1] = point;
  }
  return [...columns.values()].flatMap(([low, high]) => (low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
}

/** A little above nearly all values, so that one odd step does not press the rest flat. */
export function ceiling(values) {
  if (!values.length) return 1;
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) * 0.99)] * 1.15 || 1;
}

function niceTicks(top, most) {
  const rough = top / most;
  const size = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((each) => each * size).find((each) => each >= rough) || 1;
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, at) => at * step);
}

export function shortNumber(value) {
  if (value === 0) return "0";
  if (Math.abs(value) < 0.001) return value.toExponential(1).replace("e-", "e−").replace(".0", "");
  return String(Number(value.toPrecision(3)));
}
