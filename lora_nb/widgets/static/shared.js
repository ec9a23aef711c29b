// What all widgets share: questions to the kernel, edits that are not lost, elements, and the page's theme.
// widgets/asking.py joins this file and a widget's own into one module, which needs nothing from the net.

const HANDSHAKE = [76, 79, 82, 65]; // bytes that go to the kernel and back, to see whether bytes arrive at all
const AGAIN = [700, 2500, 8000]; // ms after which the first question is asked again
const SLOW = 1500; // ms without an answer, after which the kernel is called busy

/** Make an element: element("button", {class: "primary", "aria-label": "Undo", onclick: undo}, "Undo"). Text stays text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Bytes as Uint8Array, from whatever the host hands over: ArrayBuffer, DataView or another view. */
export function asBytes(buffer) {
  if (buffer instanceof ArrayBuffer) return new Uint8Array(buffer);
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000)
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * Questions to the kernel. `await kernel.ask("rename", {from, to})` resolves with {answer, buffers} or throws an Error
 * with the kernel's words. Questions wait their turn while the kernel works; `onbusy(true | false)` says so.
 */
export class Kernel {
  constructor(model) {
    this.model = model;
    this.waiting = new Map();
    this.next = 1;
    this.name = Math.random().toString(36).slice(2); // several views may share one model: each hears its own answers
    this.onbusy = () => {};
    this.busy = false;
    this.plain = true; // bytes as text, until they are known to arrive
    this.receive = (message, buffers) => this._receive(message, buffers ?? []);
    model.on("msg:custom", this.receive);
  }

  /**
   * Find out whether bytes arrive in both directions; else they travel as text. Ask this first.
   *
   * It is asked again while nobody answers: what a page asks in its first moment, JupyterLab gives to the kernel's main
   * thread, where it waits for the running cell; what it asks later goes to a thread that answers meanwhile.
   */
  async greet() {
    const bytes = new Uint8Array(HANDSHAKE);
    let greeted = false;
    const greet = () => this.ask("greet", { sent: HANDSHAKE }, [bytes], false);
    const later = AGAIN.map(async (delay) => {
      await new Promise((resolve) => setTimeout(resolve, delay));
      return greeted || this.closed ? new Promise(() => {}) : greet();
    });
    const { answer, buffers } = await Promise.race([greet(), ...later]);
    greeted = true;
    for (const [id, asked] of this.waiting) if (asked.what === "greet") this._forget(id);
    const same = (found) => found && found.length === 4 && HANDSHAKE.every((value, at) => found[at] === value);
    this.plain = !(answer.arrived && same(buffers[0]));
    return answer;
  }

  ask(what, details = {}, buffers = [], plain = this.plain) {
    const id = `${this.name}-${this.next++}`;
    return new Promise((resolve, reject) => {
      const slow = setTimeout(() => this._setBusy(true), SLOW);
      this.waiting.set(id, { what, resolve, reject, slow });
      const message = { id, ask: what, details, plain };
      if (plain) this.model.send({ ...message, encoded: buffers.map((each) => toBase64(asBytes(each))) });
      else this.model.send(message, undefined, buffers.map((each) => new DataView(asBytes(each).slice().buffer)));
    });
  }

  _receive(message, buffers) {
    const asked = this.waiting.get(message?.id);
    if (!asked) return; // another view's
    this._forget(message.id);
    if (message.error) asked.reject(new Error(message.error));
    else {
      const bytes = message.encoded ? message.encoded.map(fromBase64) : buffers.map(asBytes);
      asked.resolve({ answer: message.answer, buffers: bytes });
    }
  }

  _forget(id) {
    clearTimeout(this.waiting.get(id).slow);
    this.waiting.delete(id);
    if (!this.waiting.size) this._setBusy(false);
  }

  _setBusy(busy) {
    if (busy === this.busy) return;
    this.busy = busy;
    this.onbusy(busy);
  }

  close() {
    this.closed = true;
    this.model.off("msg:custom", this.receive);
    for (const { slow } of this.waiting.values()) clearTimeout(slow);
  }
}

/** Ask for a file that may be larger than a message (answered with send_part() in Python). Resolves with a Blob. */
export async function askInParts(kernel, what, details = {}) {
  const parts = [];
  let start = 0;
  let facts;
  do {
    const { answer, buffers } = await kernel.ask(what, { ...details, start });
    facts = answer;
    parts.push(buffers[0]);
    start += buffers[0].length;
  } while (start < facts.size && parts.at(-1).length);
  return new Blob(parts, { type: facts.type });
}

/**
 * Edits on their way to the kernel, one line for each thing that is edited. The newest edit of a thing replaces an
 * older one that has not been sent; one is in flight at a time; two things never mix. `send(key, value)` must return a
 * promise; an edit that fails stays until it is put again, and `onchange(key, state)` hears "edited", "saved" or an Error.
 */
export class Outbox {
  constructor(send, { delay = 300, onchange = () => {} } = {}) {
    Object.assign(this, { send, delay, onchange });
    this.edits = new Map(); // key => {value, timer}
    this.flying = new Map(); // key => promise
  }

  put(key, value) {
    clearTimeout(this.edits.get(key)?.timer);
    this.edits.set(key, { value, timer: setTimeout(() => this._try(key), this.delay) });
    this.onchange(key, "edited");
  }

  has(key) {
    return this.edits.has(key) || this.flying.has(key);
  }

  /** Forget an edit that has not been sent. */
  drop(key) {
    clearTimeout(this.edits.get(key)?.timer);
    this.edits.delete(key);
  }

  get size() {
    return new Set([...this.edits.keys(), ...this.flying.keys()]).size;
  }

  /** Send everything now; resolves when all of it has been answered. */
  async flush() {
    while (this.edits.size || this.flying.size) {
      const keys = [...this.edits.keys()].filter((key) => !this.flying.has(key) && !this.edits.get(key).failed);
      keys.forEach((key) => this._try(key));
      if (!this.flying.size) return;
      await Promise.allSettled([...this.flying.values()]);
    }
  }

  _try(key) {
    if (this.flying.has(key) || !this.edits.has(key)) return;
    const edit = this.edits.get(key);
    clearTimeout(edit.timer);
    this.edits.delete(key);
    const flight = Promise.resolve(this.send(key, edit.value)).then(
      () => this._landed(key, "saved"),
      (error) => {
        if (!this.edits.has(key)) this.edits.set(key, { ...edit, failed: true });
        this._landed(key, error);
      },
    );
    this.flying.set(key, flight);
  }

  _landed(key, state) {
    this.flying.delete(key);
    const waiting = this.edits.get(key);
    if (waiting && !waiting.failed) this._try(key);
    else this.onchange(key, state);
  }
}

/** A line that screen readers read out when it changes. `say(text)`, `say(text, "bad")`. */
export function makeStatus() {
  const line = element("div", { class: "ln-status", role: "status", "aria-live": "polite" });
  line.say = (text, kind = "") => {
    line.textContent = text;
    line.dataset.kind = kind;
  };
  return line;
}

/** Light or dark, as the page around the widget is: its background decides, not the system's setting. */
export function followTheme(root) {
  const apply = () => {
    let place = root.parentElement;
    let colour = "";
    while (place && !colour) {
      const found = getComputedStyle(place).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
      if (found.length < 4 || found[3] > 0.5) colour = found;
      place = place.parentElement;
    }
    if (!colour && document.documentElement.getAttribute("theme") === "dark") colour = [0, 0, 0]; // Colab
    const light = colour ? 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128 : true;
    root.dataset.theme = light ? "light" : "dark";
  };
  const watcher = new MutationObserver(() => setTimeout(apply, 50));
  for (const place of [document.documentElement, document.body])
    watcher.observe(place, { attributes: true, attributeFilter: ["theme", "class", "data-jp-theme-light", "data-jp-theme-name"] });
  requestAnimationFrame(apply);
  apply();
  return () => watcher.disconnect();
}

/** Keys that are pressed inside belong to the widget: in JupyterLab's command mode they would delete cells. */
export function keepKeys(root) {
  root.dataset.lmSuppressShortcuts = "true";
  for (const kind of ["keydown", "keypress", "keyup"]) root.addEventListener(kind, (event) => event.stopPropagation());
  for (const kind of ["contextmenu", "dblclick"]) root.addEventListener(kind, (event) => event.stopPropagation());
}

/**
 * Build a widget's frame and hand it to `build(root, kernel, status)`, which returns a function that cleans up, or
 * nothing. To be used as `export default { render: renderWith("Dataset board", build) }`.
 */
export function renderWith(label, build) {
  return ({ model, el }) => {
    const kernel = new Kernel(model);
    const status = makeStatus();
    const root = element("section", { class: "ln", "aria-label": label });
    el.append(root);
    keepKeys(root);
    const unfollow = followTheme(root);
    const busyLine = element("div", { class: "ln-busy", role: "status", hidden: true });
    kernel.onbusy = (busy) => {
      busyLine.hidden = !busy;
      busyLine.textContent = busy ? "The notebook is busy. What you do here is kept, and done when it is free." : "";
    };
    let cleanUp;
    let closed = false;
    kernel
      .greet()
      .then(() => build(root, kernel, status))
      .then((made) => {
        cleanUp = made;
        if (closed) cleanUp?.();
      })
      .catch((error) => status.say(error.message, "bad"));
    root.append(busyLine, status);
    return () => {
      closed = true;
      cleanUp?.();
      unfollow();
      kernel.close();
    };
  };
}
