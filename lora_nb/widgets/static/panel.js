// The training panel. It asks the kernel for news on a timer; the kernel reads the run's folder and answers.
import { askInParts, element, renderWith } from "./shared.js";
import { Chart, ceiling, shortNumber } from "./chart.js";
import { showGrid } from "./viewer.js";

const OFTEN = 1000; // ms between two questions while a run goes on
const SELDOM = 5000; // when the page is hidden, or nothing happens
const SPOKEN = 15000; // ms between two announcements for screen readers
const WORDS = {
  starting: ["◌", "Starting"], running: ["●", "Running"], paused: ["❙❙", "Paused"],
  stopped: ["■", "Stopped"], finished: ["✓", "Finished"], crashed: ["✗", "Crashed"],
};
const REQUESTS = { stop: "Stop", pause: "Pause", go_on: "Continue", save_now: "Save now", sample_now: "Sample now" };

class Panel {
  constructor(root, kernel, status) {
    Object.assign(this, { root, kernel, status });
    this.chosen = ""; // a run that was picked; else the newest
    this.forget("");
    this.buildHead();
    this.buildCurves();
    this.pictures = element("div", { class: "ln-panel-pictures" });
    this.notes = element("div", {});
    this.trouble = element("div", { class: "ln-panel-error", role: "alert", hidden: true });
    this.choice = element("div", { class: "ln-panel-note", role: "group", "aria-label": "How to continue", "data-severity": "warning", hidden: true });
    this.log = element("pre", { tabindex: "0", role: "region", "aria-label": "The last lines of the run's log" });
    this.logBox = element("details", { hidden: true }, element("summary", {}, "Log"), this.log);
    this.spoken = element("div", { class: "ln-unseen", role: "status", "aria-live": "polite" });
    this.body = element("div", {}, this.choice, this.line, this.bar, this.trouble, this.facts, this.pictures, this.curves, this.notes, this.logBox);
    root.prepend(this.head, this.body, this.spoken);
    this.seen = true;
    this.eyes = new IntersectionObserver(([entry]) => (this.seen = entry.isIntersecting));
    this.eyes.observe(root);
    this.wake = () => !document.hidden && this.ask();
    document.addEventListener("visibilitychange", this.wake);
    this.ask();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.wake);
    this.eyes.disconnect();
    this.loss.close();
    this.rate.close();
    this.viewer?.close();
    this.forgetPictures();
  }

  /** Another run is shown, or the same one with another past. */
  forget(run) {
    Object.assign(this, { run, version: 0, points: [], count: 0 });
    this.forgetPictures();
    this.viewer?.close();
    this.viewer = null;
    this.pictures?.replaceChildren();
  }

  forgetPictures() {
    this.addresses?.forEach((address) => address.then((url) => URL.revokeObjectURL(url), () => {}));
    this.addresses = new Map();
  }

  // ---- what is there

  buildHead() {
    this.state = element("span", { class: "ln-panel-state" });
    this.runs = element("select", { "aria-label": "Run" });
    this.runs.addEventListener("change", () => {
      this.chosen = this.runs.value;
      this.forget(this.chosen);
      this.ask();
    });
    this.start = element("button", { class: "primary", onclick: () => this.begin() }, "Start training");
    this.buttons = {};
    for (const [request, word] of Object.entries(REQUESTS))
      this.buttons[request] = element("button", { onclick: () => (request === "go_on" ? this.goOn() : this.request(request)) }, word);
    const { stop, pause, go_on, save_now, sample_now } = this.buttons;
    this.empty = element("span", { hidden: true });
    this.head = element("div", { class: "ln-row ln-panel-head" }, this.empty, this.runs, this.state,
      element("span", { class: "ln-panel-space" }), this.start, pause, go_on, stop, save_now, sample_now);
    this.line = element("div", { class: "ln-panel-line" });
    this.fill = element("div");
    this.bar = element("div", { class: "ln-panel-bar", role: "progressbar", "aria-label": "Progress of the training",
      "aria-valuemin": "0", "aria-valuemax": "100" }, this.fill);
    this.facts = element("ul", { class: "ln-panel-facts" });
  }

  buildCurves() {
    this.reading = element("div", { class: "ln-quiet ln-panel-reading" });
    this.loss = new Chart({ label: "Loss", onpoint: (step) => this.read(step) });
    this.rate = new Chart({ label: "Learning rate", height: 92 });
    this.legend = element("div", { class: "ln-row ln-panel-legend" });
    this.table = element("table", { class: "ln-panel-table" });
    this.tableBox = element("details", {}, element("summary", {}, "The curve as a table"),
      element("div", { class: "ln-panel-scroll", tabindex: "0", role: "region", "aria-label": "The curve as a table" }, this.table));
    this.tableBox.addEventListener("toggle", () => this.fillTable());
    this.curves = element("div", { hidden: true },
      element("h3", {}, "Loss"), this.legend, this.loss.element, this.reading,
      element("h3", {}, "Learning rate"), this.rate.element, this.tableBox);
  }

  // ---- questions

  async ask() {
    if (this.closed || this.asking) return;
    clearTimeout(this.timer);
    this.asking = true;
    let wait = SELDOM;
    try {
      const known = { run: this.chosen, version: this.version, have: this.points.length, pictures: this.count };
      const { answer } = await this.kernel.ask("news", known);
      if (!this.closed && known.run === this.chosen) {
        this.take(answer);
        wait = answer.more || this.again ? 0 : document.hidden || !this.seen || !answer.alive ? SELDOM : OFTEN;
      } else wait = 0;
    } catch (error) {
      this.status.say(error.message, "bad");
    }
    this.again = this.asking = false;
    if (!this.closed) this.timer = setTimeout(() => this.ask(), wait);
  }

  async request(request) {
    const button = this.buttons[request];
    button.disabled = true;
    this.status.say(`${REQUESTS[request]}: asked. The run answers after its step.`);
    try {
      await this.kernel.ask("ask", { run: this.run, request });
    } catch (error) {
      this.status.say(error.message, "bad");
    }
    this.again = true;
    this.ask();
  }

  async begin() {
    this.start.disabled = true;
    this.status.say("Starting: the pictures and settings are checked …");
    try {
      const { answer } = await this.kernel.ask("start");
      this.chosen = answer.run;
      this.forget(answer.run);
      this.status.say("");
    } catch (error) {
      this.status.say(error.message, "bad");
      this.start.disabled = false;
    }
    this.again = true;
    this.ask();
  }

  /** Let a run go on that is paused, stopped or crashed. If something has changed since, ask how. */
  async goOn(how = {}) {
    this.buttons.go_on.disabled = true;
    this.choice.hidden = true;
    this.status.say("Continue: asked.");
    try {
      const { answer } = await this.kernel.ask("go_on", { run: this.run, ...how });
      this.status.say("");
      if (answer.changed) this.offer(answer.changed);
      else if (answer.run !== this.run) this.forget((this.chosen = answer.run));
    } catch (error) {
      this.status.say(error.message, "bad");
    }
    this.again = true;
    this.ask();
  }

  offer(changes) {
    const first = element("button", { class: "primary", onclick: () => this.goOn({ as_before: true }) }, "Continue as it was started");
    this.choice.replaceChildren(
      element("b", {}, "Something is not as it was when this run was started:"),
      element("ul", {}, ...changes.map((change) => element("li", {}, change))),
      element("div", { class: "ln-row" }, first,
        element("button", { onclick: () => this.goOn({ from_weights: true }) }, "Start a new run from what it has learned"),
        element("button", { onclick: () => this.decline() }, "Cancel")),
    );
    this.choice.hidden = false;
    first.focus();
  }

  decline() {
    this.choice.hidden = true;
    this.buttons.go_on.focus();
  }

  load(number, full) {
    const key = `${number} ${full}`;
    if (!this.addresses.has(key)) {
      const address = askInParts(this.kernel, "picture", { run: this.run, number, full }).then((blob) => URL.createObjectURL(blob));
      address.catch(() => this.addresses.delete(key));
      this.addresses.set(key, address);
    }
    return this.addresses.get(key);
  }

  // ---- answers

  take(news) {
    this.showRuns(news);
    this.body.hidden = !news.run;
    this.empty.hidden = Boolean(news.run);
    this.state.hidden = !news.run;
    if (!news.run) {
      this.empty.textContent = `No run yet. ${news.forecast}`;
      this.showButtons({ alive: false, state: "", pending: [] });
      return;
    }
    if (news.run !== this.run || news.version !== this.version) this.forget(news.run);
    this.version = news.version;
    this.points.push(...news.points);
    const before = this.news;
    this.news = news;
    this.showButtons(news);
    this.showState(news, before);
    this.showFacts(news);
    if (news.points.length || !before || before.run !== news.run || before.validations.length !== news.validations.length)
      this.showCurves(news);
    if (news.previews) this.showPictures(news.previews);
    this.count = news.pictures;
    this.showNotes(news);
  }

  showRuns(news) {
    const names = [...news.runs].reverse().join("\n");
    if (names !== this.names) {
      this.names = names;
      this.runs.replaceChildren(...[...news.runs].reverse().map((name) => element("option", { value: name }, name)));
    }
    this.runs.hidden = !news.runs.length;
    this.runs.value = news.run;
  }

  showButtons({ alive, state, pending }) {
    const focused = document.activeElement;
    const { stop, pause, go_on, save_now, sample_now } = this.buttons;
    this.start.hidden = alive;
    this.start.disabled = false;
    stop.hidden = save_now.hidden = sample_now.hidden = !alive;
    pause.hidden = !alive || state === "paused";
    go_on.hidden = !["paused", "stopped", "crashed"].includes(state);
    go_on.classList.toggle("primary", !go_on.hidden);
    this.start.classList.toggle("primary", go_on.hidden);
    this.start.textContent = state ? "Start a new run" : "Start training";
    if (alive && state !== "paused") this.choice.hidden = true;
    for (const [request, button] of Object.entries(this.buttons)) button.disabled = pending.includes(request) || state === "starting";
    stop.disabled = pending.includes("stop");
    if (this.answered && !pending.length) this.status.say("");
    this.answered = pending.length > 0;
    if (focused === pause && pause.hidden && !go_on.hidden) go_on.focus(); // Pause has become Continue, and the other way round
    else if (focused === go_on && go_on.hidden && !pause.hidden) pause.focus();
    else if (this.root.contains(focused) && focused.hidden) (alive ? stop : this.start).focus();
  }

  showState(news, before) {
    const [mark, word] = WORDS[news.state];
    this.state.dataset.state = news.state;
    this.state.replaceChildren(element("span", { "aria-hidden": "true" }, mark), ` ${word}`);
    this.line.textContent = news.progress;
    const percent = Math.round(news.share * 100);
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.bar.setAttribute("aria-valuetext", `${percent} %, ${news.progress}`);
    this.fill.style.width = `${news.share * 100}%`;
    this.bar.dataset.state = news.state;
    const changed = before?.run === news.run && before.state !== news.state;
    if (changed || (news.state === "running" && Date.now() - (this.spokenAt ?? 0) > SPOKEN)) {
      this.spokenAt = Date.now();
      const loss = this.points.length ? `, loss ${shortNumber(this.points.at(-1)[3])}` : "";
      this.spoken.textContent = `${word}: ${news.progress}${loss}`;
    }
    this.showTrouble(news);
  }

  showTrouble(news) {
    this.trouble.hidden = !news.error;
    if (!news.error || this.told === news.error + news.run) return;
    this.told = news.error + news.run;
    this.needs = element("p", { hidden: true });
    if (news.vanished) this.compareMemory(news.run, this.needs);
    this.trouble.replaceChildren(
      element("b", {}, news.step ? `The run ended with an error after step ${news.step}.` : "The run ended with an error before its first step."),
      ...news.explanation.map((line) => element("p", {}, line)),
      this.needs,
      element("p", { class: "ln-panel-text" }, news.error),
      news.traceback ? element("details", {}, element("summary", {}, "What the program said"),
        element("pre", { tabindex: "0", role: "region", "aria-label": "What the program said" }, news.traceback)) : null,
    );
  }

  /** A process that is gone may have needed too much memory: what was forecast stands beside it. */
  async compareMemory(run, place) {
    const { answer } = await this.kernel.ask("needs", { run }).catch(() => ({ answer: { forecast: "" } }));
    place.textContent = answer.forecast;
    place.hidden = !answer.forecast;
  }

  showFacts(news) {
    const last = this.points.at(-1);
    const facts = [];
    if (last) {
      facts.push(["Loss", shortNumber(last[3]), "running mean of the plain error"]);
      if (this.isWeighted) facts.push(["Weighted loss", shortNumber(last[4]), "running mean of what is minimised"]);
    }
    if (news.validations.length) facts.push(["Held-out loss", shortNumber(news.validations.at(-1)[1]), "on pictures that are not trained on"]);
    if (last) news.rates.forEach((name, at) => facts.push([rateName(name, news.rates), shortNumber(last[5][at]), name]));
    if (news.memory) facts.push(["Memory", `${(news.memory / 2 ** 30).toFixed(2)} GiB`, "main memory of the run's process"]);
    if (news.device) facts.push(["Device", news.device, ""]);
    facts.push(["LoRAs", String(news.loras.length), news.loras.at(-1) ?? "none saved yet"]);
    this.facts.replaceChildren(...facts.map(([name, value, title]) =>
      element("li", { title }, element("span", {}, name), element("b", {}, value))));
  }

  get isWeighted() {
    return this.points.some((point) => Math.abs(point[2] - point[1]) > 1e-6 * point[1]);
  }

  showCurves(news) {
    this.curves.hidden = !this.points.length;
    if (!this.points.length) return;
    const column = (at) => this.points.map((point) => [point[0], point[at]]);
    const weighted = this.isWeighted;
    const lines = [
      { points: column(1), kind: "ln-raw", name: "each step" },
      ...(weighted ? [{ points: column(4), kind: "ln-weighted", name: "weighted, running mean" }] : []),
      { points: column(3), kind: "ln-smooth", name: "running mean" },
      ...(news.validations.length ? [{ points: news.validations, kind: "ln-heldout", dots: true, name: "held-out pictures" }] : []),
    ];
    const heights = [...this.points.map((point) => point[1]), ...news.validations.map(([, loss]) => loss), ...(weighted ? this.points.map((point) => point[4]) : [])];
    this.loss.draw({ lines, steps: news.steps, top: ceiling(heights) });
    this.loss.describe(`Loss: running mean ${shortNumber(this.points[0][3])} at step ${this.points[0][0]}, ${shortNumber(this.points.at(-1)[3])} at step ${news.step}`);
    this.legend.replaceChildren(...lines.map(({ kind, name }) => element("span", { class: "ln-panel-key" }, element("i", { class: kind }), name)));
    const rates = news.rates.map((_, at) => ({ points: this.points.map((point) => [point[0], point[5][at]]), kind: `ln-rate${at % 3}` }));
    this.rate.draw({ lines: rates, steps: news.steps, top: this.points.reduce((most, point) => Math.max(most, ...point[5]), 0) * 1.15 || 1 });
    this.rate.describe(`Learning rate: ${this.points.at(-1)[5].map(shortNumber).join(" and ")} at step ${news.step}`);
    this.fillTable();
  }

  read(step) {
    const point = step === null ? null : this.points.findLast((each) => each[0] <= step);
    this.reading.textContent = point
      ? `step ${point[0]}: ${shortNumber(point[1])}, running mean ${shortNumber(point[3])}`
      : "Each step draws other noise, so only the mean tells something. The pictures tell more.";
  }

  fillTable() {
    if (!this.reading.textContent) this.read(null);
    if (!this.tableBox.open) return;
    const most = 12;
    const last = this.points.length - 1;
    const chosen = new Set(Array.from({ length: Math.min(most, last + 1) }, (_, at, all = Math.min(most, last + 1)) => Math.round((at * last) / Math.max(1, all - 1))));
    const head = ["step", "running mean", "this step", "weighted", "learning rate"];
    this.table.replaceChildren(
      element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...[...chosen].map((at) => this.points[at]).map((point) =>
        element("tr", {}, element("th", { scope: "row" }, String(point[0])),
          ...[point[3], point[1], point[2]].map((value) => element("td", {}, shortNumber(value))),
          element("td", {}, point[5].map(shortNumber).join(", "))))),
    );
  }

  showPictures(view) {
    if (this.viewer) return this.viewer.update(view);
    this.viewer = showGrid(this.pictures, view, { largest: 132, loadPicture: (number, full) => this.load(number, full) });
    this.viewer.stage.scrollLeft = this.viewer.stage.scrollWidth; // the newest column
  }

  showNotes(news) {
    const notes = news.problems.map(([severity, where, message, fix]) =>
      element("p", { class: "ln-panel-note", "data-severity": severity }, element("b", {}, `${severity}: ${where}. `), `${message} ${fix}`));
    if (notes.length !== this.notes.childElementCount) this.notes.replaceChildren(...notes);
    this.logBox.hidden = !news.log.length;
    const text = news.log.join("\n");
    if (this.log.textContent !== text) this.log.textContent = text;
  }
}

function rateName(name, all) {
  return all.length > 1 ? `Rate ${name.replace("lora_", "")}` : "Learning rate";
}

export default {
  render: renderWith("Training", (root, kernel, status) => {
    const panel = new Panel(root, kernel, status);
    return () => panel.close();
  }),
};
