// A grid of any number of thumbnails, of which only those in view exist. One list box for the keyboard and screen readers.
import { element } from "./shared.js";

const SMALLEST = 128; // px of a cell's width
const GAP = 8;
const LABEL = 22; // px under a thumbnail
const ASK_FOR = 12; // thumbnails in one question
const KEPT = 400; // thumbnails that the page holds

/** Thumbnails by name and version, asked for in the order in which they are needed. */
export class Thumbnails {
  constructor(kernel, onready) {
    Object.assign(this, { kernel, onready, urls: new Map(), failed: new Set(), wanted: [], asking: false, closed: false });
  }

  key(picture) {
    return `${picture.name}|${picture.version}`;
  }

  get(picture) {
    const key = this.key(picture);
    const url = this.urls.get(key);
    if (url) {
      this.urls.delete(key); // to the end: used last
      this.urls.set(key, url);
    }
    return url;
  }

  /** What is in view now; what was wanted before and is no longer in view is not asked for. */
  want(pictures) {
    this.wanted = pictures.filter((picture) => !this.urls.has(this.key(picture)) && !this.failed.has(this.key(picture)));
    this._ask();
  }

  /** Take thumbnails of some pictures from an answer; those that are not in it cannot be had. */
  put(pictures, names, buffers) {
    const found = new Map(names.map((name, at) => [name, buffers[at]]));
    for (const picture of pictures) {
      const bytes = found.get(picture.name);
      if (bytes) this.urls.set(this.key(picture), URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
      else this.failed.add(this.key(picture));
    }
  }

  async _ask() {
    if (this.asking || this.closed || !this.wanted.length) return;
    this.asking = true;
    const some = this.wanted.slice(0, ASK_FOR);
    try {
      const { answer, buffers } = await this.kernel.ask("thumbs", { names: some.map((picture) => picture.name) });
      this.put(some, answer.names, buffers);
      for (const [key, url] of this.urls) {
        if (this.urls.size <= KEPT) break;
        this.urls.delete(key);
        URL.revokeObjectURL(url);
      }
    } catch {
      for (const picture of some) this.failed.add(this.key(picture));
    }
    this.asking = false;
    this.wanted = this.wanted.filter((picture) => !some.includes(picture));
    if (!this.closed) this.onready();
    this._ask();
  }

  close() {
    this.closed = true;
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
  }
}

/**
 * The grid. `show(pictures)` sets what is in it; `describe(picture)` gives {label, marks}; `onopen(picture)`,
 * `onselect(names)` tell what the user does. `selection` is a Set of names, `current` the place of the
 * cursor.
 */
export class Grid {
  constructor(thumbnails, { describe, onopen, onselect }) {
    Object.assign(this, { thumbnails, describe, onopen, onselect, pictures: [], selection: new Set(), current: 0, anchor: 0 });
    this.id = `bd${Math.random().toString(36).slice(2)}`; // several boards may be on one page
    this.cells = new Map(); // place => cell
    this.spare = [];
    this.space = element("div", { class: "bd-space", role: "presentation" });
    this.box = element(
      "div",
      {
        class: "bd-grid", role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-label": "Pictures",
        onkeydown: (event) => this._key(event), onclick: (event) => this._click(event),
        ondblclick: (event) => this._at(event) !== undefined && this.onopen(this.pictures[this.current]),
        onfocus: () => this._render(),
      },
      this.space,
    );
    this.box.addEventListener("scroll", () => this._later(), { passive: true });
    this.watcher = new ResizeObserver(() => this._measure());
    this.watcher.observe(this.box);
    thumbnails.onready = () => this._render();
  }

  show(pictures) {
    const name = this.pictures[this.current]?.name;
    this.pictures = pictures;
    const there = pictures.findIndex((picture) => picture.name === name);
    this.current = there >= 0 ? there : Math.max(Math.min(this.current, pictures.length - 1), 0);
    this.anchor = this.current;
    const names = new Set(pictures.map((picture) => picture.name));
    this.selection = new Set([...this.selection].filter((each) => names.has(each)));
    this.onselect(this.selection);
    this._measure();
  }

  select(names) {
    this.selection = new Set(names);
    this._tell();
  }

  /** Put the cursor on a picture and bring it into view. */
  goTo(name) {
    const place = this.pictures.findIndex((picture) => picture.name === name);
    if (place < 0) return;
    this.current = this.anchor = place;
    this._reveal();
  }

  focus() {
    this.box.focus({ preventScroll: true });
  }

  close() {
    this.watcher.disconnect();
  }

  _measure() {
    const width = this.box.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const columns = Math.max(Math.floor((width + GAP) / (SMALLEST + GAP)), 2);
    const side = Math.floor((width - GAP * (columns - 1)) / columns);
    const isNew = columns !== this.columns || side !== this.side;
    Object.assign(this, { columns, side, row: side + LABEL + GAP });
    const rows = Math.ceil(this.pictures.length / this.columns);
    this.space.style.height = `${rows * this.row + GAP}px`;
    if (isNew) for (const place of [...this.cells.keys()]) this._drop(place);
    this._render();
  }

  _later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this._render();
    });
  }

  _render() {
    if (!this.row) return;
    const first = Math.max(Math.floor(this.box.scrollTop / this.row) - 1, 0);
    const last = Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.row) + 1;
    const from = first * this.columns;
    const to = Math.min(last * this.columns, this.pictures.length);
    for (const place of [...this.cells.keys()]) if (place < from || place >= to) this._drop(place);
    const inView = [];
    for (let place = from; place < to; place++) {
      inView.push(this.pictures[place]);
      this._fill(this.cells.get(place) ?? this._take(place), place);
    }
    if (this.cells.has(this.current)) this.box.setAttribute("aria-activedescendant", `${this.id}-${this.current}`);
    else this.box.removeAttribute("aria-activedescendant");
    this.thumbnails.want(inView);
  }

  _take(place) {
    let cell = this.spare.pop();
    if (!cell) {
      const image = element("img", { alt: "", decoding: "async", draggable: false });
      const name = element("span", { class: "bd-name" });
      cell = element("div", { class: "bd-cell", role: "option" }, image, name);
      Object.assign(cell, { image, name });
    }
    const x = GAP + (place % this.columns) * (this.side + GAP);
    const y = GAP + Math.floor(place / this.columns) * this.row;
    cell.style.cssText = `transform: translate(${x}px, ${y}px); width: ${this.side}px; height: ${this.row - GAP}px`;
    cell.id = `${this.id}-${place}`;
    cell.shown = undefined;
    this.space.append(cell);
    this.cells.set(place, cell);
    return cell;
  }

  _drop(place) {
    const cell = this.cells.get(place);
    this.cells.delete(place);
    cell.remove();
    this.spare.push(cell);
  }

  _fill(cell, place) {
    const picture = this.pictures[place];
    const url = this.thumbnails.get(picture) ?? "";
    const chosen = this.selection.has(picture.name);
    const cursor = place === this.current;
    const { label, marks } = this.describe(picture);
    const state = `${picture.name}|${url}|${chosen}|${cursor}|${label}|${marks}|${this.pictures.length}`;
    if (cell.shown === state) return; // touching the page costs time
    cell.shown = state;
    cell.setAttribute("aria-selected", chosen);
    cell.setAttribute("aria-label", label);
    cell.setAttribute("aria-posinset", place + 1);
    cell.setAttribute("aria-setsize", this.pictures.length);
    cell.classList.toggle("bd-current", cursor);
    cell.dataset.marks = marks;
    cell.name.textContent = picture.name.split("/").pop();
    cell.image.hidden = !url;
    if (url && cell.image.getAttribute("src") !== url) cell.image.src = url;
  }

  _at(event) {
    const cell = event.target.closest?.(".bd-cell");
    return cell ? Number(cell.id.slice(this.id.length + 1)) : undefined;
  }

  _click(event) {
    const place = this._at(event);
    if (place === undefined) return;
    const box = event.target.closest(".bd-cell").getBoundingClientRect();
    const onMark = event.clientX - box.left < 34 && event.clientY - box.top < 34; // the circle in the corner
    if (event.shiftKey) this._range(place);
    else if (event.ctrlKey || event.metaKey || onMark) this._toggle(place);
    else this.selection = new Set([this.pictures[place].name]);
    if (!event.shiftKey) this.anchor = place;
    this.current = place;
    this.focus();
    this._tell();
  }

  _toggle(place) {
    const { name } = this.pictures[place];
    if (!this.selection.delete(name)) this.selection.add(name);
  }

  _range(place) {
    const [from, to] = [this.anchor, place].sort((a, b) => a - b);
    this.selection = new Set(this.pictures.slice(from, to + 1).map((picture) => picture.name));
  }

  _key(event) {
    const page = Math.max(Math.floor(this.box.clientHeight / this.row), 1) * this.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page,
      Home: -this.pictures.length, End: this.pictures.length,
    };
    if (!this.pictures.length) return;
    if (event.key in steps) {
      const last = this.pictures.length - 1;
      const wanted = this.current + steps[event.key];
      const isRow = event.key === "ArrowUp" || event.key === "ArrowDown";
      if (!isRow || (wanted >= 0 && wanted <= last)) this.current = Math.min(Math.max(wanted, 0), last);
      if (event.shiftKey) {
        this._range(this.current);
        this._tell();
      } else this.anchor = this.current;
      this._reveal();
    } else if (event.key === "Enter") this.onopen(this.pictures[this.current]);
    else if (event.key === " ") {
      this._toggle(this.current);
      this.anchor = this.current;
      this._tell();
    } else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) {
      this.select(this.pictures.map((picture) => picture.name));
    } else if (event.key === "Escape" && this.selection.size) this.select([]);
    else return;
    event.preventDefault();
  }

  _reveal() {
    const top = Math.floor(this.current / this.columns) * this.row;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + this.row + GAP;
    if (bottom > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = bottom - this.box.clientHeight;
    this._render();
  }

  _tell() {
    this._render();
    this.onselect(this.selection);
  }
}
