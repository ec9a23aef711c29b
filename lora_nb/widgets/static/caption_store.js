// What the caption editor knows: pictures, captions, filter, choice; and how edits reach the kernel.
import { Outbox } from "./shared.js";

const NEWS_EVERY = 5000; // ms between two looks at what others changed

export const splitTags = (text) => text.split(",").map((tag) => tag.trim().replace(/\s+/g, " ")).filter(Boolean);
export const joinTags = (tags) => tags.join(", ");
export const plainTag = (tag) => tag.replaceAll("_", " ").toLowerCase().trim().replace(/\s+/g, " ");

/** Why a caption is shown as text and not as tags; "" if it may be shown as tags. Nothing that has a meaning is torn. */
export function whyText(text) {
  if (text.includes("\n")) return "It has several lines: one is chosen each time (data.wildcards).";
  if (/[{}]/.test(text)) return "It has choices in {braces}.";
  if (text.includes("|||")) return "It has the mark |||.";
  if (/:\s*-?\d*\.?\d+\s*\)/.test(text) || /(^|,)\s*[([]/.test(text) || /[([][^)\]]*,[^([]*[)\]]/.test(text))
    return "It has (weights:1.2) or brackets over several tags.";
  const longest = Math.max(0, ...splitTags(text).map((tag) => tag.split(" ").length));
  if (longest > 12 || (longest > 5 && /[.!?]["')]?(\s|$)/.test(text.trim()))) return "It is a sentence.";
  return "";
}

/** The captions of a project. Listeners are called once after several changes, with the set of what changed. */
export class CaptionStore {
  constructor(kernel, status) {
    Object.assign(this, { kernel, status });
    this.pictures = [];
    this.captions = new Map(); // caption file => {text, revision, tags, past, future, conflict, problem}
    this.byName = new Map();
    this.filter = { text: "", having: [], lacking: [], show: "all" };
    this.shown = [];
    this.current = null; // a picture
    this.chosen = new Set(); // names, for edits of many
    this.odd = new Map(); // name => what is wrong with its trigger words
    this.tokens = new Map(); // file => [number, where it is cut]
    this.most = 75;
    this.tokenNote = "";
    this.triggers = [];
    this.report = null;
    this.history = { undo: "", redo: "" };
    this.asText = false;
    this.listeners = new Set();
    this.dirty = new Set();
    this.uncounted = new Set();
    this.outbox = new Outbox((file, text) => this._save(file, text), { onchange: (file, state) => this._moved(file, state) });
    this.news = setInterval(() => this._askNews(), NEWS_EVERY);
  }

  async open() {
    const { answer } = await this.kernel.ask("open");
    const before = this.current?.name;
    this.pictures = answer.pictures;
    this.byName = new Map(this.pictures.map((picture) => [picture.name, picture]));
    this.chosen = new Set([...this.chosen].filter((name) => this.byName.has(name)));
    this.triggers = answer.triggers;
    this.history = answer.history;
    for (const file of [...this.captions.keys()]) if (!(file in answer.captions)) this.captions.delete(file);
    this.take(answer.captions);
    this.refilter();
    this.show(this.byName.get(before) ?? this.shown[0] ?? null);
    this.changed("pictures", "history");
  }

  /** Captions as the kernel read them. One that is being edited here stays: saving it finds out. */
  take(captions) {
    for (const [file, { text, revision, problem }] of Object.entries(captions)) {
      if (this.outbox.has(file)) continue;
      this.captions.set(file, { text, revision, problem, tags: splitTags(text), past: [], future: [], typed: 0 });
      this.uncounted.add(file);
    }
    this._askTokens();
    this._askTriggers();
    this.changed("captions");
  }

  entry(picture = this.current) {
    return picture ? this.captions.get(picture.file) : undefined;
  }

  /** A new text for a caption, saved soon. typing: several in a row are undone together. */
  edit(file, text, typing = false) {
    const entry = this.captions.get(file);
    if (!entry || entry.problem || text === entry.text) return;
    if (!typing || Date.now() - entry.typed > 1500) entry.past.push(entry.text);
    entry.typed = typing ? Date.now() : 0;
    entry.future = [];
    this._set(file, text);
  }

  /** Undo (or redo) the last edit of one caption. */
  stepBack(file, forwards = false) {
    const entry = this.captions.get(file);
    const [from, to] = forwards ? [entry.future, entry.past] : [entry.past, entry.future];
    if (!from.length) return false;
    to.push(entry.text);
    entry.typed = 0;
    this._set(file, from.pop());
    return true;
  }

  _set(file, text) {
    const entry = this.captions.get(file);
    entry.text = text;
    entry.tags = splitTags(text);
    this.outbox.put(file, text);
    this.changed("captions");
  }

  async _save(file, text) {
    const entry = this.captions.get(file);
    const { answer } = await this.kernel.ask("save", { file, text, revision: entry.revision });
    if (answer.conflict && answer.conflict.text !== text) {
      entry.conflict = answer.conflict;
      this.changed("captions");
      throw new Error("it was changed elsewhere in the meantime. Choose one of both.");
    }
    entry.revision = answer.conflict ? answer.conflict.revision : answer.revision;
    entry.conflict = null;
    this.uncounted.add(file);
    this._askTokens();
    this._askTriggers();
  }

  keepMine(file) {
    const entry = this.captions.get(file);
    entry.revision = entry.conflict.revision;
    entry.conflict = null;
    this.outbox.put(file, entry.text);
    this.changed("captions");
  }

  takeTheirs(file) {
    this.outbox.drop(file);
    this.take({ [file]: this.captions.get(file).conflict });
  }

  _moved(file, state) {
    if (state instanceof Error) this.status.say(`${file}: ${state.message} Your text is kept here.`, "bad");
    else if (state === "saved" && !this.outbox.size) this.status.say("All captions are saved.", "good");
    this.changed("saving");
  }

  /** Wait until nothing is on its way, and then ask for something that many captions may change by. */
  async askAll(question, details = {}) {
    await this.outbox.flush();
    if (this.outbox.size) throw new Error("Some captions are not saved yet. Mend that first.");
    const { answer } = await this.kernel.ask(question, details);
    if (answer.captions) {
      this.take(answer.captions);
      this.refilter();
    }
    if (answer.history) {
      this.history = answer.history;
      this.changed("history");
    }
    return answer;
  }

  setFilter(changes) {
    Object.assign(this.filter, changes);
    this.refilter();
  }

  /** Ask for a tag, for its absence, or no longer for either. */
  filterTag(tag, without = false) {
    const { having, lacking } = this.filter;
    const [list, other] = without ? [lacking, having] : [having, lacking];
    const less = (tags) => tags.filter((each) => each !== tag);
    const next = list.includes(tag) ? less(list) : [...list, tag];
    this.setFilter(without ? { lacking: next, having: less(other) } : { having: next, lacking: less(other) });
  }

  /**
   * Which pictures the list shows. Own edits of one caption do not make it vanish while it is worked on.
   * more: only add pictures, of which it is now known that they fit.
   */
  refilter(more = false) {
    const before = new Set(more ? this.shown : []);
    const { text, having, lacking, show } = this.filter;
    const words = text.trim().toLowerCase();
    const [wanted, unwanted] = [having.map(plainTag), lacking.map(plainTag)];
    const shows = {
      all: (picture) => !picture.general,
      bare: (picture) => !picture.general && !this.entry(picture).text,
      odd: (picture) => this.odd.has(picture.name),
      long: (picture) => (this.tokens.get(picture.file)?.[0] ?? 0) > this.most,
      chosen: (picture) => this.chosen.has(picture.name),
      general: (picture) => picture.general,
    };
    this.shown = this.pictures.filter((picture) => {
      const entry = this.entry(picture);
      const tags = wanted.length || unwanted.length ? new Set(entry.tags.map(plainTag)) : null;
      return before.has(picture) || (
        shows[show](picture) &&
        (!words || entry.text.toLowerCase().includes(words) || picture.name.toLowerCase().includes(words)) &&
        wanted.every((tag) => tags.has(tag)) &&
        !unwanted.some((tag) => tags.has(tag))
      );
    });
    if (this.shown.length && !this.shown.includes(this.current)) this.show(this.shown[0]);
    this.changed("filter");
  }

  show(picture) {
    if (picture === this.current) return;
    this.current = picture;
    this.changed("current");
  }

  /** Go to the next picture of the list, or the one before. */
  move(steps) {
    const at = this.shown.indexOf(this.current);
    this.show(this.shown[Math.max(0, Math.min(this.shown.length - 1, at + steps))] ?? this.current);
  }

  choose(name, on = !this.chosen.has(name)) {
    if (on) this.chosen.add(name);
    else this.chosen.delete(name);
    this.changed("chosen");
  }

  /** The pictures of the subject. The others show its class in general: no edit of many is about them. */
  get own() {
    return this.pictures.filter((picture) => !picture.general);
  }

  /** How many of all pictures have each tag, for suggestions. */
  countAll() {
    return this.countTags(this.own);
  }

  /** How many of the shown pictures have each tag, the most common first. */
  countTags(pictures = this.shown) {
    const counts = new Map();
    for (const picture of pictures)
      for (const tag of new Set(this.entry(picture).tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    return [...counts].sort(([a, many], [b, more]) => more - many || (a < b ? -1 : 1));
  }

  /** The names that an edit is about: null for all pictures. */
  scopeNames(scope) {
    if (scope === "shown") return this.shown.map((picture) => picture.name);
    return scope === "chosen" ? [...this.chosen] : null;
  }

  async _askTokens() {
    if (this.counting || !this.uncounted.size) return;
    this.counting = true;
    // some more may come; and the first count loads a tokenizer, which must not hold up the first pictures
    await new Promise((resolve) => setTimeout(resolve, this.tokens.size ? 150 : 1200));
    const files = [...this.uncounted];
    this.uncounted.clear();
    try {
      const { answer } = await this.kernel.ask("tokens", { files });
      for (const [file, count] of Object.entries(answer.counts)) this.tokens.set(file, count);
      Object.assign(this, { most: answer.most, tokenNote: answer.note });
      if (this.filter.show === "long") this.refilter(true);
      this.changed("tokens");
    } catch (error) {
      this.tokenNote = `Tokens cannot be counted: ${error.message}`;
    }
    this.counting = false;
    this._askTokens();
  }

  _askTriggers() {
    clearTimeout(this.triggerTimer);
    this.triggerTimer = setTimeout(async () => {
      if (this.kernel.busy) return this._askTriggers();
      try {
        const { answer } = await this.kernel.ask("triggers");
        this.report = answer;
        this.triggers = answer.words;
        this.odd = new Map(answer.folders.flatMap((folder) => folder.odd.map((each) => [each.name, each.reason])));
        if (this.filter.show === "odd") this.refilter(true);
        this.changed("triggers");
      } catch (error) {
        this.status.say(error.message, "bad");
      }
    }, 500);
  }

  async _askNews() {
    if (this.asking || this.kernel.busy || document.visibilityState !== "visible") return;
    this.asking = true;
    try {
      const { answer } = await this.kernel.ask("news");
      if (answer.pictures) await this.open();
      else if (answer.captions) {
        this.take(answer.captions);
        this.history = answer.history;
        this.changed("history");
      }
    } catch {
      // the kernel was stopped: edits say so, a look for news needs not
    }
    this.asking = false;
  }

  changed(...what) {
    if (!this.dirty.size)
      queueMicrotask(() => {
        const found = this.dirty;
        this.dirty = new Set();
        for (const listener of this.listeners) listener(found);
      });
    what.forEach((each) => this.dirty.add(each));
  }

  close() {
    clearInterval(this.news);
    clearTimeout(this.triggerTimer);
    this.outbox.flush();
  }
}
