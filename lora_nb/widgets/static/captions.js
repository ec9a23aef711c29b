// The caption editor: the list, one picture with its caption, the tags of all, and edits of many.
import { element, renderWith } from "./shared.js";
import { CaptionStore } from "./caption_store.js";
import { makePictureList } from "./caption_list.js";
import { makeCaptionPane } from "./caption_pane.js";
import { makeBulk, makePruning, makeTriggers } from "./caption_panels.js";

const TAGS_SHOWN = 80;
const KEYS = [
  ["Ctrl+↓, Ctrl+↑ or Page keys", "next picture, the one before"],
  ["Enter in “Add a tag”", "add what is typed, or the suggestion chosen with ↓"],
  ["←, →", "go from tag to tag"],
  ["Shift+←, Shift+→", "move a tag"],
  ["Delete", "remove a tag"],
  ["F2 or double click", "rename a tag here"],
  ["Ctrl+C, Ctrl+V on a tag", "copy all tags, paste them into another caption"],
  ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo in this caption"],
  ["Space, Ctrl+A in the list", "choose pictures for an edit of many"],
  ["Click, Shift+click on a count", "show only pictures with a tag, without it"],
];

function makeBar(store) {
  const search = element("input", { type: "search", placeholder: "Find in captions and names", "aria-label": "Find in captions and names", oninput: () => store.setFilter({ text: search.value }) });
  const show = element("select", { "aria-label": "Which pictures", onchange: () => store.setFilter({ show: show.value }) },
    ...Object.entries({ all: "All pictures", bare: "Without caption", odd: "Trigger words amiss", long: "Too many tokens", chosen: "Chosen" }).map(([value, text]) => element("option", { value }, text)));
  const general = element("option", { value: "general" }, "Class in general");
  const chips = element("span", { class: "cap-filters" });
  const count = element("span", { class: "ln-quiet", role: "status" });
  const undo = element("button", { type: "button", disabled: true, onclick: () => step("undo") }, "Undo");
  const redo = element("button", { type: "button", disabled: true, onclick: () => step("redo") }, "Redo");
  const keys = element("details", { class: "cap-keys" }, element("summary", {}, "Keys"),
    element("dl", {}, ...KEYS.flatMap(([key, does]) => [element("dt", {}, key), element("dd", {}, does)])));
  const node = element("div", { class: "ln-row cap-top" }, search, show, chips, count, element("span", { class: "cap-push" }, undo, redo), keys);

  async function step(which) {
    try {
      const answer = await store.askAll(which);
      const left = answer.left.length ? ` ${answer.left.length} were edited since and left as they are: ${answer.left.slice(0, 5).join(", ")}.` : "";
      store.status.say(`${which === "undo" ? "Undone" : "Done again"}: ${answer.label}, ${answer.count} captions.${left}`, left ? "" : "good");
    } catch (error) {
      store.status.say(error.message, "bad");
    }
  }

  function update(what) {
    const { having, lacking } = store.filter;
    const all = store.filter.show === "general" ? store.pictures.length - store.own.length : store.own.length;
    count.textContent = `${store.shown.length === all ? "" : `${store.shown.length} of `}${all} ${all === 1 ? "picture" : "pictures"}`;
    if (what.has("pictures")) {
      if (store.own.length < store.pictures.length) show.append(general);
      else if (general.isConnected) {
        general.remove();
        if (store.filter.show === "general") store.setFilter({ show: (show.value = "all") });
      }
    }
    for (const [button, name] of [[undo, "undo"], [redo, "redo"]]) {
      button.disabled = !store.history[name];
      button.title = store.history[name];
      button.setAttribute("aria-label", `${name === "undo" ? "Undo" : "Redo"}${store.history[name] ? `: ${store.history[name]}` : ""}`);
    }
    if (!what.has("filter")) return;
    const makeChip = (tag, without) => element("button", { type: "button", class: without ? "cap-without" : "cap-with", "aria-label": `No longer ${without ? "without" : "with"} ${tag}`, onclick: () => store.filterTag(tag, without) }, element("span", {}, `${without ? "without" : "with"} ${tag}`), " ×");
    chips.replaceChildren(...having.map((tag) => makeChip(tag, false)), ...lacking.map((tag) => makeChip(tag, true)));
  }
  return { node, update };
}

/** How many of the shown pictures have each tag; a click filters. */
function makeTagList(store) {
  const search = element("input", { type: "search", placeholder: "Find a tag", "aria-label": "Find a tag", oninput: () => render() });
  const list = element("ul", { class: "cap-counts", "aria-label": "Tags and how many pictures have them" });
  const more = element("p", { class: "ln-quiet" });
  const node = element("div", { class: "cap-side" }, element("h3", {}, "Tags"), search, list, more);

  function render() {
    const wanted = search.value.trim().toLowerCase();
    const { having, lacking } = store.filter;
    const counted = store.countTags();
    const names = new Set(counted.map(([tag]) => tag));
    const gone = lacking.filter((tag) => !names.has(tag)).map((tag) => [tag, 0]);
    const found = [...gone, ...counted].filter(([tag]) => tag.toLowerCase().includes(wanted));
    const most = Math.max(1, store.shown.length);
    const focused = list.contains(list.getRootNode().activeElement) ? list.getRootNode().activeElement.dataset.tag : null;
    list.replaceChildren(...found.slice(0, TAGS_SHOWN).map(([tag, count]) => {
      const state = having.includes(tag) ? "with" : lacking.includes(tag) ? "without" : "";
      return element("li", {}, element("button", {
        type: "button", class: `cap-count ${state}`, "aria-pressed": String(Boolean(state)), title: "Click: with it. Shift+click: without it.", "data-tag": tag,
        "aria-label": `${tag}, ${count} pictures${state ? `, shown ${state} it` : ""}`,
        onclick: (event) => store.filterTag(tag, state ? state === "without" : event.shiftKey),
      }, element("span", { class: "cap-bar", "aria-hidden": "true" }, element("span", { style: `width: ${(100 * count) / most}%` })), element("span", { class: "cap-tagname" }, tag), element("span", {}, `${count}`)));
    }));
    if (focused) [...list.querySelectorAll("button")].find((button) => button.dataset.tag === focused)?.focus();
    more.textContent = found.length > TAGS_SHOWN ? `and ${found.length - TAGS_SHOWN} more; type to find them` : found.length ? "" : "No tag.";
  }

  let waiting = false;
  function update(what) {
    if (waiting || !["captions", "filter", "pictures"].some((each) => what.has(each))) return;
    waiting = true;
    requestAnimationFrame(() => ((waiting = false), render()));
  }
  return { node, update };
}

/** Tabs of our own: Colab cannot show Jupyter's. Only the open one follows changes. */
function makeTabs(panels) {
  const id = `cap-tab-${Math.random().toString(36).slice(2)}`;
  const bar = element("div", { role: "tablist", class: "cap-tabs", "aria-label": "Edits of many captions" });
  const node = element("div", { class: "cap-many" }, bar);
  const tabs = Object.entries(panels).map(([title, panel], at) => {
    const tab = element("button", { type: "button", role: "tab", id: `${id}-${at}`, "aria-controls": `${id}-p${at}`, onclick: () => open(at) }, title);
    const place = element("div", { role: "tabpanel", id: `${id}-p${at}`, "aria-labelledby": `${id}-${at}`, hidden: true }, panel.node);
    bar.append(tab);
    node.append(place);
    return { tab, place, panel };
  });
  let current = 0;

  function open(at) {
    current = at;
    tabs.forEach(({ tab, place }, which) => {
      tab.setAttribute("aria-selected", String(which === at));
      tab.tabIndex = which === at ? 0 : -1;
      place.hidden = which !== at;
    });
    tabs[at].panel.update(new Set(["opened", "captions", "triggers"]));
  }

  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    open((current + step + tabs.length) % tabs.length);
    tabs[current].tab.focus();
  });
  return { node, open, update: (what) => tabs[current].panel.update(what) };
}

async function build(root, kernel, status) {
  root.classList.add("cap");
  const store = new CaptionStore(kernel, status);
  const [bar, list, pane, counts] = [makeBar(store), makePictureList(store, kernel), makeCaptionPane(store, kernel), makeTagList(store)];
  const tabs = makeTabs({ "Change many": makeBulk(store), "Trigger words": makeTriggers(store), "Prune assistant": makePruning(store) });
  const empty = element("p", { hidden: true }, "There are no pictures in this project yet. Put some in on the dataset board.");
  const main = element("div", { class: "cap-main" }, list.node, pane.node, counts.node);
  root.append(bar.node, empty, main, status, tabs.node);
  const parts = [bar, list, pane, counts, tabs];
  store.listeners.add((what) => {
    empty.hidden = store.pictures.length > 0;
    main.hidden = tabs.node.hidden = !store.pictures.length;
    parts.forEach((part) => part.update(what));
  });
  root.addEventListener("keydown", (event) => {
    const withControl = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const alone = event.target.tagName === "TEXTAREA" || !pane.node.contains(event.target) ? 0 : { PageDown: 1, PageUp: -1 }[event.key];
    const step = event.ctrlKey || event.metaKey ? withControl : alone;
    if (!step) return;
    event.preventDefault();
    store.move(step);
  });
  await store.open();
  tabs.open(0);
  return () => {
    store.close();
    list.close();
    pane.close();
  };
}

export default { render: renderWith("Caption editor", build) };
