// The list of pictures: only the rows that can be seen exist, however many pictures there are.
import { element } from "./shared.js";

const ROW = 64; // px, as in captions.css
const AROUND = 3; // rows above and below the visible ones

/** Pictures from the kernel as URLs, the last used kept. `want(names)` asks for those that are missing. */
export class PictureCache {
  constructor(kernel, size, { keep = 300, batch = 16, onload = () => {} } = {}) {
    Object.assign(this, { kernel, size, keep, batch, onload });
    this.urls = new Map();
    this.queue = [];
    this.asking = false;
  }

  url(name) {
    const url = this.urls.get(name);
    if (url === undefined) return undefined;
    this.urls.delete(name);
    this.urls.set(name, url); // the last one is the one used last
    return url;
  }

  want(names) {
    this.queue = names.filter((name) => !this.urls.has(name));
    if (!this.asking) this._fetch();
  }

  forget(name) {
    URL.revokeObjectURL(this.urls.get(name));
    this.urls.delete(name);
  }

  async _fetch() {
    this.asking = true;
    while (this.queue.length && !this.closed) {
      const names = this.queue.splice(0, this.batch);
      try {
        const { buffers } = await this.kernel.ask("thumbs", { names, size: this.size });
        this.queue.unshift(...names.splice(Math.max(buffers.length, 1))); // large files: the kernel sends some first
        names.forEach((name, at) => {
          const found = buffers[at]?.length ? URL.createObjectURL(new Blob([buffers[at]], { type: "image/webp" })) : "";
          this.urls.set(name, found);
        });
      } catch {
        break; // shown without pictures; the next scroll asks again
      }
      for (const name of [...this.urls.keys()].slice(0, Math.max(0, this.urls.size - this.keep))) this.forget(name);
      if (!this.closed) this.onload(names);
    }
    this.asking = false;
  }

  close() {
    this.closed = true;
    for (const name of [...this.urls.keys()]) this.forget(name);
  }
}

/** Make the list. Returns {node, update(what), close}. */
export function makePictureList(store, kernel) {
  const cache = new PictureCache(kernel, 256, { onload: () => paint() });
  const space = element("div", { class: "cap-space", role: "presentation" });
  const node = element("div", { class: "cap-list", tabindex: "0", "aria-label": "Pictures" }, space);
  const hint = element("div", { class: "cap-none ln-quiet" }, "No picture fits the filter.");
  const rows = new Map(); // place => row
  const base = `cap-${Math.random().toString(36).slice(2)}`;
  let anchor = 0;

  function paint() {
    const first = Math.max(0, Math.floor(node.scrollTop / ROW) - AROUND);
    const last = Math.min(store.shown.length, Math.ceil((node.scrollTop + (node.clientHeight || 500)) / ROW) + AROUND);
    for (const [place, row] of rows) {
      if (place >= first && place < last && row.picture === store.shown[place]) continue;
      row.remove();
      rows.delete(place);
    }
    const missing = [];
    for (let place = first; place < last; place++) {
      const picture = store.shown[place];
      if (!rows.has(place)) {
        const row = makeRow(picture, place);
        rows.set(place, row);
        space.append(row);
      }
      refresh(rows.get(place), picture, place);
      if (cache.url(picture.name) === undefined) missing.push(picture.name);
    }
    cache.want(missing);
    const at = store.shown.indexOf(store.current);
    if (rows.has(at)) node.setAttribute("aria-activedescendant", `${base}-${at}`);
    else node.removeAttribute("aria-activedescendant");
  }

  function makeRow(picture, place) {
    const row = element("div", { class: "cap-row", role: "option", id: `${base}-${place}`, style: `top: ${place * ROW}px` });
    row.picture = picture;
    row.image = element("img", { alt: "", draggable: "false", hidden: true });
    row.words = element("span", { class: "cap-snippet" });
    row.marks = element("span", { class: "cap-marks" });
    const cut = picture.name.lastIndexOf("/") + 1;
    const name = element("span", { class: "cap-name" }, element("small", {}, picture.name.slice(0, cut)), element("b", {}, picture.name.slice(cut)));
    row.tick = element("span", { class: "cap-tick", "aria-hidden": "true", title: "Choose for an edit of many (Space)" });
    row.append(element("span", { class: "cap-frame" }, row.image), element("span", { class: "cap-about" }, name, row.words, row.marks), row.tick);
    return row;
  }

  function refresh(row, picture, place) {
    const entry = store.entry(picture);
    const isChosen = store.chosen.has(picture.name);
    row.setAttribute("aria-selected", String(isChosen));
    row.setAttribute("aria-setsize", store.shown.length);
    row.setAttribute("aria-posinset", place + 1);
    row.classList.toggle("current", picture === store.current);
    const url = cache.url(picture.name);
    if (url && row.url !== url) {
      row.url = row.image.src = url;
      row.image.hidden = false;
    }
    const skipped = entry.tags.slice(0, store.triggers.length).join() === store.triggers.join() ? store.triggers.length : 0;
    const words = entry.tags.slice(skipped).join(", ").slice(0, 80); // the trigger words are the same everywhere
    if (row.words.textContent !== words) row.words.textContent = words;
    const marks = findMarks(store, picture).map(([kind, text]) => `${kind}:${text}`);
    if (row.said !== marks.join()) {
      row.said = marks.join();
      row.marks.replaceChildren(...findMarks(store, picture).map(([kind, text]) => element("b", { class: kind }, text)));
    }
  }

  function show(place, { range = false } = {}) {
    const picture = store.shown[place];
    if (!picture) return;
    if (range) for (let at = Math.min(anchor, place); at <= Math.max(anchor, place); at++) store.choose(store.shown[at].name, true);
    else anchor = place;
    store.show(picture);
    node.scrollTop = Math.min(Math.max(node.scrollTop, (place + 1) * ROW - node.clientHeight), place * ROW);
  }

  node.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  node.addEventListener("click", (event) => {
    const row = event.target.closest(".cap-row");
    if (!row) return;
    const place = store.shown.indexOf(row.picture);
    if (event.target === row.tick || event.ctrlKey || event.metaKey) {
      anchor = place;
      store.choose(row.picture.name);
    } else show(place, { range: event.shiftKey });
  });
  node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "a") return;
      store.shown.forEach((picture) => store.choose(picture.name, true));
    } else {
      const page = Math.max(1, Math.floor(node.clientHeight / ROW) - 1);
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
      const at = store.shown.indexOf(store.current);
      if (steps) show(Math.max(0, Math.min(store.shown.length - 1, at + steps)), { range: event.shiftKey });
      else if (event.key === " " && store.current) store.choose(store.current.name);
      else if (event.key === "Escape" && store.chosen.size) [...store.chosen].forEach((name) => store.choose(name, false));
      else return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  const sizes = new ResizeObserver(() => paint());
  sizes.observe(node);

  function update(what) {
    if (what.has("filter") || what.has("pictures")) {
      space.style.height = `${store.shown.length * ROW}px`;
      const attributes = store.shown.length ? { role: "listbox", "aria-multiselectable": "true" } : { role: "region", "aria-multiselectable": null };
      for (const [name, value] of Object.entries(attributes)) value ? node.setAttribute(name, value) : node.removeAttribute(name);
      hint.remove();
      if (!store.shown.length) space.append(hint);
    }
    if (what.has("current")) {
      const at = store.shown.indexOf(store.current);
      if (at >= 0) node.scrollTop = Math.min(Math.max(node.scrollTop, (at + 1) * ROW - node.clientHeight), at * ROW);
    }
    if (["filter", "pictures", "current", "captions", "chosen", "tokens", "triggers"].some((each) => what.has(each))) paint();
  }
  return { node, update, close: () => (sizes.disconnect(), cache.close()) };
}

/** What is to be seen about a caption at a glance: [kind, text]. */
function findMarks(store, picture) {
  const entry = store.entry(picture);
  const tokens = store.tokens.get(picture.file)?.[0] ?? 0;
  const marks = [];
  if (entry.problem) marks.push(["bad", "not readable"]);
  else if (!entry.text) marks.push(["warn", "no caption"]);
  else if (store.odd.has(picture.name)) marks.push(["warn", "trigger words"]);
  if (tokens > store.most) marks.push(["warn", `${tokens} tokens`]);
  return marks;
}
