// One picture and its caption: tags as chips that the keyboard moves, or plain text.
import { element } from "./shared.js";
import { joinTags, plainTag, splitTags, whyText } from "./caption_store.js";
import { PictureCache } from "./caption_list.js";

const SUGGESTED = 8;
let copied = []; // tags, for pasting into other captions

/** Make the pane. Returns {node, update(what), close}. */
export function makeCaptionPane(store, kernel) {
  const cache = new PictureCache(kernel, 960, { keep: 12, batch: 1, onload: () => showPicture() });
  const picture = element("img", { class: "cap-picture", hidden: true });
  const where = element("div", { class: "cap-where", role: "status" });
  const goBack = element("button", { type: "button", "aria-label": "Picture before", title: "Ctrl+↑", onclick: () => store.move(-1) }, "‹");
  const goOn = element("button", { type: "button", "aria-label": "Next picture", title: "Ctrl+↓", onclick: () => store.move(1) }, "›");
  const chips = element("ul", { class: "cap-chips" });
  const area = element("textarea", { class: "cap-text", rows: 4, "aria-label": "Caption", spellcheck: "false" });
  const why = element("p", { class: "cap-why ln-quiet" });
  const conflict = element("div", { class: "cap-conflict", role: "alert", hidden: true });
  const meter = element("div", { class: "cap-meter" });
  const saving = element("span", { class: "cap-saving ln-quiet" });
  const asText = element("input", { type: "checkbox", onchange: () => ((store.asText = asText.checked), render()) });
  const copy = element("button", { type: "button", title: "Ctrl+C on a tag", onclick: copyTags }, "Copy tags");
  const paste = element("button", { type: "button", title: "Ctrl+V on a tag", disabled: true, onclick: pasteTags }, "Paste tags");
  const adder = makeAdder(store, kernel, addTags, () => focusChip(chips.childElementCount - 1));
  const tools = element("div", { class: "ln-row" }, element("label", { class: "cap-check" }, asText, "Edit as text"), copy, paste, saving);
  const node = element(
    "div",
    { class: "cap-pane" },
    element("div", { class: "cap-stage" }, goBack, element("div", { class: "cap-view" }, picture), goOn),
    where, conflict, chips, area, adder.node, why, meter, tools,
  );
  let rendered = null; // the picture and text that the chips show
  let focused = 0;

  const tags = () => store.entry().tags;
  const pinned = () => {
    const [words, now] = [store.triggers, tags()];
    return words.length && words.every((word, at) => plainTag(word) === plainTag(now[at] ?? "")) ? words.length : 0;
  };
  const put = (next) => store.edit(store.current.file, joinTags(next));

  function addTags(words) {
    if (!store.current) return;
    const known = new Set(tags().map(plainTag));
    const fresh = words.filter((word) => !known.has(plainTag(word)));
    if (fresh.length) put([...tags(), ...fresh]);
    store.status.say(fresh.length ? `Added ${joinTags(fresh)}.` : `${joinTags(words)} is there already.`);
  }

  function removeTag(at) {
    const tag = tags()[at];
    if (at < pinned()) return store.status.say(`${tag} is a trigger word, which stands first in every caption. Change it under Trigger words.`);
    put(tags().filter((_, place) => place !== at));
    store.status.say(`Removed ${tag}. Ctrl+Z brings it back.`);
    focusChip(Math.min(at, tags().length - 1));
  }

  function moveTag(from, to) {
    const fixed = pinned();
    const next = [...tags()];
    if (from < fixed || to < fixed || to >= next.length || from === to) return;
    const [tag] = next.splice(from, 1);
    next.splice(to, 0, tag);
    put(next);
    store.status.say(`${tag} is now tag ${to + 1} of ${next.length}.`);
    focusChip(to);
  }

  function renameTag(at) {
    if (at < pinned()) return removeTag(at); // says why not
    const input = element("input", { class: "cap-rename", "aria-label": `Rename ${tags()[at]}`, value: tags()[at] });
    let done = false;
    const finish = (keep) => {
      if (done) return;
      done = true;
      const words = splitTags(input.value);
      if (keep && words.length) put([...tags().slice(0, at), ...words, ...tags().slice(at + 1)]);
      rendered = null;
      render();
      focusChip(at);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        finish(event.key === "Enter");
      }
    });
    input.addEventListener("blur", () => finish(true));
    chips.children[at].replaceChildren(input);
    input.focus();
    input.select();
  }

  function copyTags() {
    copied = tags().slice(pinned());
    navigator.clipboard?.writeText(joinTags(copied)).catch(() => {}); // a frame may not be allowed to
    paste.disabled = false;
    store.status.say(`${copied.length} tags copied, without the trigger words.`);
  }

  function pasteTags() {
    if (copied.length) addTags(copied);
  }

  function focusChip(at) {
    focused = Math.max(0, at);
    render();
    const button = chips.children[focused]?.querySelector("button");
    if (button) button.focus();
    else adder.input.focus();
  }

  function makeChip(tag, at, fixed) {
    const isPinned = at < fixed;
    const button = element("button", { type: "button", class: "cap-tag", tabindex: at === focused ? "0" : "-1", title: isPinned ? "Trigger word: pinned" : "" }, tag);
    const remove = isPinned ? null : element("button", { type: "button", class: "cap-x", tabindex: "-1", "aria-label": `Remove ${tag}`, onclick: () => removeTag(at) }, "×");
    const chip = element("li", { class: isPinned ? "cap-chip pinned" : "cap-chip", draggable: isPinned ? "false" : "true" }, button, remove);
    button.addEventListener("focus", () => (focused = at));
    button.addEventListener("dblclick", () => renameTag(at));
    chip.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", String(at)));
    chip.addEventListener("dragover", (event) => event.preventDefault());
    chip.addEventListener("drop", (event) => {
      event.preventDefault();
      moveTag(Number(event.dataTransfer.getData("text/plain")), at);
    });
    return chip;
  }

  chips.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") return;
    const at = [...chips.children].findIndex((chip) => chip.contains(event.target));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const control = event.ctrlKey || event.metaKey;
    if (step && event.shiftKey) moveTag(at, at + step);
    else if (step && at + step === chips.childElementCount) adder.input.focus();
    else if (step) focusChip(at + step);
    else if (event.key === "Home" || event.key === "End") focusChip(event.key === "Home" ? 0 : chips.childElementCount - 1);
    else if (event.key === "Delete" || event.key === "Backspace") removeTag(at);
    else if (event.key === "F2") renameTag(at);
    else if (control && event.key === "c") copyTags();
    else if (control && event.key === "v") pasteTags();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  node.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || !["z", "y"].includes(key) || event.target === area || !store.current) return;
    if (event.target.tagName === "INPUT" && event.target.value) return; // undoes the typing there
    event.preventDefault();
    const forwards = key === "y" || event.shiftKey;
    if (!store.stepBack(store.current.file, forwards)) store.status.say(`There is nothing to ${forwards ? "redo" : "undo"} in this caption.`);
    else store.status.say(forwards ? "Done again." : "Undone.");
    render();
    if (chips.childElementCount && event.target.classList?.contains("cap-tag")) focusChip(Math.min(focused, chips.childElementCount - 1));
  });
  area.addEventListener("blur", () => render());
  area.addEventListener("input", () => store.edit(store.current.file, area.value, true));

  function showPicture() {
    const now = store.current;
    picture.hidden = !now || !cache.url(now.name);
    if (!now) return;
    const url = cache.url(now.name);
    picture.alt = `${now.name}: ${store.entry().text || "no caption"}`;
    if (url && picture.src !== url) picture.src = url;
    node.querySelector(".cap-view").dataset.state = url === "" ? "broken" : url ? "" : "loading";
  }

  function render() {
    const entry = store.entry();
    node.hidden = !entry;
    if (!entry) return;
    const reason = whyText(entry.text);
    const isText = Boolean(reason) || store.asText || area.matches(":focus"); // not while one types
    chips.hidden = adder.node.hidden = copy.hidden = paste.hidden = isText;
    area.hidden = !isText;
    asText.checked = isText;
    asText.disabled = Boolean(reason);
    area.readOnly = Boolean(entry.problem);
    adder.input.disabled = Boolean(entry.problem);
    why.textContent = entry.problem ?? (reason ? `Shown as text, so that nothing is lost. ${reason}` : "");
    why.hidden = !why.textContent;
    if (area.value !== entry.text) area.value = entry.text;
    const key = `${store.current.file}\n${pinned()}\n${entry.text}\n${focused}`;
    if (!isText && rendered !== key) {
      rendered = key;
      focused = Math.min(focused, Math.max(0, entry.tags.length - 1));
      chips.setAttribute("aria-label", `Tags of ${store.current.name}`);
      chips.replaceChildren(...entry.tags.map((tag, at) => makeChip(tag, at, pinned())));
    }
    const at = store.shown.indexOf(store.current);
    const about = ` · ${store.current.width} × ${store.current.height} · ${at + 1} of ${store.shown.length}`;
    if (where.textContent !== store.current.name + about) where.replaceChildren(element("b", {}, store.current.name), about);
    const counted = store.tokens.get(store.current.file);
    const [number, cut] = counted ?? [0, ""];
    const share = Math.min(1, number / store.most);
    meter.classList.toggle("over", number > store.most);
    meter.replaceChildren(
      element("span", { class: "cap-bar", "aria-hidden": "true" }, element("span", { style: `width: ${100 * share}%` })),
      `${counted ? number : "…"} of ${store.most} tokens` + (cut ? `: cut at “${cut}”` : "") + (store.tokenNote ? `. ${store.tokenNote}` : ""),
    );
    saving.textContent = entry.conflict ? "not saved" : store.outbox.has(store.current.file) ? "saving…" : "saved";
    renderConflict(entry);
  }

  function renderConflict(entry) {
    conflict.hidden = !entry.conflict;
    const file = store.current.file;
    const says = entry.conflict?.text;
    if (conflict.hidden || conflict.dataset.says === says) return;
    conflict.dataset.says = says;
    conflict.replaceChildren(
      element("p", {}, element("b", {}, "Changed elsewhere in the meantime."), ` On disk it now says: ${says || "nothing"}`),
      element("div", { class: "ln-row" },
        element("button", { type: "button", onclick: () => store.keepMine(file) }, "Keep what is here"),
        element("button", { type: "button", onclick: () => store.takeTheirs(file) }, "Take what is on disk")),
    );
  }

  function update(what) {
    if (what.has("current")) {
      focused = 0;
      adder.close();
      if (store.current) {
        const at = store.shown.indexOf(store.current);
        cache.want([at, at + 1, at - 1].map((place) => store.shown[place]?.name).filter(Boolean));
      }
    }
    if (what.has("current") || what.has("captions")) showPicture();
    if (!chips.querySelector("input")) render(); // not while a tag is renamed
  }
  return { node, update, close: () => cache.close() };
}

/** The field that adds tags, with suggestions: the dataset's own tags at once, then what the tagger knows. */
function makeAdder(store, kernel, add, leaveLeft) {
  const id = `cap-${Math.random().toString(36).slice(2)}`;
  const list = element("ul", { class: "cap-suggestions", role: "listbox", id, "aria-label": "Suggestions", hidden: true });
  const input = element("input", {
    class: "cap-add", role: "combobox", "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list",
    "aria-label": "Add a tag", placeholder: "Add a tag …", autocomplete: "off", spellcheck: "false",
  });
  const node = element("div", { class: "cap-adder" }, input, list);
  let found = [];
  let active = -1;
  let asked = 0;

  const typed = () => input.value.slice(input.value.lastIndexOf(",") + 1);

  function showList(suggestions) {
    found = suggestions.slice(0, SUGGESTED);
    active = Math.min(active, found.length - 1);
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    list.replaceChildren(...found.map(({ tag, kind, pictures }, at) =>
      element("li", { role: "option", id: `${id}-${at}`, "aria-selected": String(at === active), onmousedown: (event) => (event.preventDefault(), take(at)) },
        element("span", {}, tag), element("small", {}, pictures ? `${pictures}` : kind))));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${id}-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function suggest() {
    const wanted = plainTag(typed());
    const here = new Set(store.entry().tags.map(plainTag));
    const rank = (tag) => {
      const place = plainTag(tag).indexOf(wanted);
      return place < 0 ? 9 : place === 0 ? 0 : plainTag(tag).includes(` ${wanted}`) ? 1 : 2;
    };
    const own = store.countAll().filter(([tag]) => !here.has(plainTag(tag)) && rank(tag) < 9);
    own.sort(([a, many], [b, more]) => rank(a) - rank(b) || more - many);
    const mine = own.map(([tag, pictures]) => ({ tag, pictures }));
    showList(mine);
    if (wanted.length < 2 || mine.length >= SUGGESTED || kernel.busy) return;
    const number = ++asked;
    setTimeout(async () => {
      if (number !== asked) return;
      try {
        const { answer } = await kernel.ask("suggest", { typed: wanted });
        if (number === asked && input.value) showList([...mine, ...answer.filter(({ tag }) => !here.has(plainTag(tag)))]);
      } catch {
        // the dataset's own tags are still suggested
      }
    }, 150);
  }

  function take(at) {
    const words = at >= 0 ? [...splitTags(input.value.slice(0, input.value.lastIndexOf(",") + 1)), found[at].tag] : splitTags(input.value);
    close();
    if (words.length) add(words);
  }

  function close() {
    asked++;
    active = -1;
    input.value = "";
    showList([]);
  }

  input.addEventListener("input", () => ((active = -1), input.value.trim() ? suggest() : close()));
  input.addEventListener("blur", () => showList([]));
  input.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!found.length) suggest();
      active = (active + (event.key === "ArrowDown" ? 1 : -1) + found.length + 1) % (found.length + 1);
      if (active === found.length) active = -1;
      showList(found);
    } else if (event.key === "Enter") take(active);
    else if (event.key === "Escape" && (input.value || found.length)) close();
    else if ((event.key === "Backspace" || event.key === "ArrowLeft") && !input.value) leaveLeft();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { node, input, close };
}
