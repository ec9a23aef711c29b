// What is done to many captions at once: edits with a dry run, trigger words, and what to prune.
import { element } from "./shared.js";
import { joinTags, plainTag, splitTags } from "./caption_store.js";

const ODD_SHOWN = 24;
const KEPT_SHOWN = 12; // tags that the advice keeps; those to prune or to look at are all shown

const countTagsIn = (number) => (number === 1 ? "1 tag" : `${number} tags`);
let labels = 0;

/** A label with its field. */
function field(title, input, hint = "") {
  const id = `cap-field-${labels++}`;
  input.id = id;
  return element("div", { class: "cap-field" }, element("label", { for: id }, title), input, hint && element("small", { class: "ln-quiet" }, hint));
}

function choice(options) {
  return element("select", {}, ...Object.entries(options).map(([value, text]) => element("option", { value }, text)));
}

/** Two captions as one: what goes is struck through, what comes is underlined. */
export function showChange(before, after) {
  const [old, now] = [splitTags(before), splitTags(after)];
  const same = old.map(() => Array(now.length + 1).fill(0)).concat([Array(now.length + 1).fill(0)]);
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      same[i][j] = old[i] === now[j] ? same[i + 1][j + 1] + 1 : Math.max(same[i + 1][j], same[i][j + 1]);
  const parts = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) (parts.push(old[i]), i++, j++);
    else if (i < old.length && (j === now.length || same[i + 1][j] >= same[i][j + 1])) parts.push(element("del", {}, old[i++]));
    else parts.push(element("ins", {}, now[j++]));
  }
  return parts.flatMap((part, at) => (at ? [", ", part] : [part]));
}

/** A dry run that follows the fields, and the button that does it. `read()` gives {edit, options, names} or a reason. */
function makeDryRun(store, title, read) {
  const result = element("div", { class: "cap-dry", role: "status", "aria-live": "polite" });
  const button = element("button", { type: "button", class: "primary", disabled: true, onclick: apply }, title);
  let number = 0;
  let timer;

  /** Look anew. same: the fields are as they were, so the button stays: a click on it must not get lost. */
  function look(delay = 250, same = false) {
    if (!same) button.disabled = true;
    number++;
    clearTimeout(timer);
    timer = setTimeout(ask, delay);
  }

  async function ask() {
    const mine = ++number;
    const wanted = read();
    if (typeof wanted === "string") return result.replaceChildren(element("span", { class: "ln-quiet" }, wanted));
    try {
      const answer = await store.askAll("bulk", { ...wanted, dry_run: true });
      if (mine !== number) return;
      button.disabled = !answer.count;
      const text = answer.count ? `${answer.count} of ${answer.of} captions would change.` : `None of ${answer.of} captions would change.`;
      const rows = answer.examples.map((each) => element("li", {}, element("b", {}, each.name), " ", ...showChange(each.before, each.after)));
      const more = answer.count - rows.length;
      result.replaceChildren(element("b", {}, text), element("ul", {}, ...rows, more > 0 ? element("li", { class: "ln-quiet" }, `and ${more} more`) : null));
    } catch (error) {
      if (mine === number) result.replaceChildren(element("span", { class: "cap-bad" }, error.message));
    }
  }

  async function apply() {
    const wanted = read();
    if (typeof wanted === "string") return;
    button.disabled = true;
    try {
      const answer = await store.askAll("bulk", { ...wanted, dry_run: false });
      store.status.say(`${answer.label}: ${answer.count} captions changed. Undo takes it back.`, "good");
    } catch (error) {
      store.status.say(error.message, "bad");
    }
    look(0);
  }
  return { result, button, look };
}

const EDIT_FORMS = {
  add: {
    title: "Add tags",
    make: () => ({ tags: field("Tags", element("input", { placeholder: "forest, from above" })), place: field("Where", choice({ end: "at the end", "after triggers": "behind the trigger words", start: "at the start" })) }),
    read: (value) => (splitTags(value.tags).length ? { tags: splitTags(value.tags), place: value.place } : "Write the tags that every caption shall have."),
  },
  remove: {
    title: "Remove tags",
    make: () => ({ tags: field("Tags", element("input", { placeholder: "solo, simple background" })) }),
    read: (value) => (splitTags(value.tags).length ? { tags: splitTags(value.tags) } : "Write the tags that shall go."),
  },
  rename: {
    title: "Rename a tag",
    make: () => ({ old: field("Tag", element("input", {})), new: field("New name", element("input", {})) }),
    read: (value) => (value.old.trim() && value.new.trim() ? { old: value.old, new: value.new } : "Write the tag and its new name."),
  },
  replace: {
    title: "Search and replace",
    make: () => ({
      find: field("Search", element("input", {})), replacement: field("Replace by", element("input", {})),
      regex: field("Regular expression", element("input", { type: "checkbox" })), match_case: field("Upper case matters", element("input", { type: "checkbox", checked: true })),
    }),
    read: (value) => (value.find ? { ...value } : "Write the text that shall be replaced, in tags or in sentences."),
  },
  sort: {
    title: "Sort tags",
    make: () => ({ by: field("By", choice({ alphabet: "alphabet", frequency: "frequency", length: "length" }), "Trigger words stay in front.") }),
    read: (value) => ({ by: value.by }),
  },
  dedupe: { title: "Remove doubled tags", make: () => ({}), read: () => ({}) },
  tidy: { title: "Tidy: spaces for underscores, nothing twice", make: () => ({}), read: () => ({}) },
};

/** The bar for edits of many captions. */
export function makeBulk(store) {
  const edit = choice(Object.fromEntries(Object.entries(EDIT_FORMS).map(([name, form]) => [name, form.title])));
  const scope = choice({ all: "all", shown: "shown", chosen: "chosen" });
  const fields = element("div", { class: "cap-fields" });
  const dryRun = makeDryRun(store, "Apply", read);
  let inputs = {};

  function build() {
    inputs = EDIT_FORMS[edit.value].make();
    fields.replaceChildren(...Object.values(inputs));
    dryRun.look(0);
  }

  function read() {
    if (scope.value === "shown" && store.filter.show === "general")
      return "Captions of the class in general have no trigger words and nothing to prune: edit them one by one.";
    const values = Object.entries(inputs).map(([name, box]) => {
      const input = box.querySelector("input, select");
      return [name, input.type === "checkbox" ? input.checked : input.value];
    });
    const options = EDIT_FORMS[edit.value].read(Object.fromEntries(values));
    if (typeof options === "string") return options;
    const names = store.scopeNames(scope.value);
    if (names && !names.length) return "No picture is chosen. Choose some in the list with Space or Ctrl+click.";
    return { edit: edit.value, options, names };
  }

  edit.addEventListener("change", build);
  fields.addEventListener("input", () => dryRun.look());
  scope.addEventListener("change", () => dryRun.look(0));
  const node = element("div", { class: "cap-panel" },
    element("div", { class: "cap-fields" }, field("Edit", edit), field("Of", scope)), fields,
    element("div", { class: "ln-row" }, dryRun.button), dryRun.result);
  build();

  function update(what) {
    scope.options[0].textContent = `all ${store.own.length} captions`;
    scope.options[1].textContent = `the ${store.shown.length} shown`;
    scope.options[2].textContent = `the ${store.chosen.size} chosen`;
    if (["captions", "filter", "chosen", "pictures"].some((each) => what.has(each))) dryRun.look(400, true);
  }
  return { node, update };
}

/** Trigger words: the same first in every caption. */
export function makeTriggers(store) {
  const words = element("input", { placeholder: "mochi" });
  const dryRun = makeDryRun(store, "Put them first everywhere", read);
  const report = element("div", { class: "cap-report" });
  let typed = false;

  function read() {
    const next = splitTags(words.value);
    if (!next.length) return "Write the words that call your subject, such as mochi.";
    return { edit: "triggers", options: { words: next, instead_of: store.triggers }, names: null };
  }

  async function adopt() {
    try {
      const { answer } = await store.kernel.ask("adopt", { words: splitTags(words.value) });
      store.triggers = answer.triggers;
      typed = false;
      store.status.say(`The settings now say: trigger words ${joinTags(answer.triggers)}, ${countTagsIn(answer.triggers.length)} kept in front.`, "good");
      store.take({});
      dryRun.look(0);
    } catch (error) {
      store.status.say(error.message, "bad");
    }
  }

  words.addEventListener("input", () => ((typed = true), renderReport(), dryRun.look()));
  const node = element("div", { class: "cap-panel" },
    element("p", { class: "ln-quiet" }, "Trigger words call the subject. They stand first in every caption, equally many everywhere, so that shuffling leaves them in place."),
    element("div", { class: "cap-fields" }, field("Trigger words", words)),
    element("div", { class: "ln-row" }, dryRun.button), dryRun.result, report);

  function renderReport() {
    const found = store.report;
    if (!found) return;
    const now = splitTags(words.value);
    const differs = joinTags(now) !== joinTags(found.words) || found.kept !== now.length;
    report.replaceChildren(
      ...found.folders.map((folder) => element("div", { class: "cap-folder" },
        element("p", { class: folder.odd.length ? "cap-warn" : "cap-good" }, `${folder.odd.length ? "!" : "✓"} ${folder.text}`),
        element("ul", {}, ...folder.odd.slice(0, ODD_SHOWN).map((odd) => element("li", {},
          element("button", { type: "button", class: "cap-link", onclick: () => store.show(store.byName.get(odd.name)) }, odd.name), ` ${odd.reason}`)),
          folder.odd.length > ODD_SHOWN ? element("li", { class: "ln-quiet" }, `and ${folder.odd.length - ODD_SHOWN} more`) : null))),
      now.length && differs
        ? element("p", {}, `The settings say: ${joinTags(found.words) || "no trigger words"}, ${countTagsIn(found.kept)} kept in front. `,
            element("button", { type: "button", onclick: adopt }, `Use ${joinTags(now)} in the settings`))
        : element("p", { class: "ln-quiet" }, `The settings say the same, and keep ${countTagsIn(found.kept)} in front.`),
    );
  }

  function update(what) {
    if (!typed && words.value !== joinTags(store.triggers)) words.value = joinTags(store.triggers);
    if (what.has("triggers") || what.has("pictures")) renderReport();
    if (["captions", "pictures", "triggers"].some((each) => what.has(each))) dryRun.look(400, true);
  }
  return { node, update };
}

/** The prune assistant: what describes the subject goes, and the trigger word takes it over. */
export function makePruning(store) {
  const table = element("tbody", {});
  const learned = element("p", {});
  const free = element("p", {});
  const dryRun = makeDryRun(store, "Prune them", read);
  const own = new Map(); // tags whose advice the user overruled => pruned or not
  let advice = [];
  let all = false;
  let timer;

  const isPruned = (each) => own.get(plainTag(each.tag)) ?? each.advice === "prune";
  const pruned = () => advice.filter(isPruned).map((each) => each.tag);

  function read() {
    if (!advice.length) return "There are no tags to look at.";
    return pruned().length ? { edit: "remove", options: { tags: pruned() }, names: null } : "No tag is ticked.";
  }

  async function look() {
    try {
      await store.outbox.flush();
      advice = (await store.kernel.ask("advice")).answer;
      render();
    } catch (error) {
      store.status.say(error.message, "bad");
    }
  }

  function render() {
    const rows = advice.filter((each, at) => all || each.advice !== "keep" || isPruned(each) || at < KEPT_SHOWN);
    table.replaceChildren(...rows.map((each) => {
      const tick = element("input", { type: "checkbox", checked: isPruned(each), "aria-label": `Prune ${each.tag}` });
      tick.addEventListener("change", () => (own.set(plainTag(each.tag), tick.checked), renderPreview()));
      const share = element("span", { class: "cap-bar", "aria-hidden": "true" }, element("span", { style: `width: ${100 * each.share}%` }));
      return element("tr", {}, element("td", {}, tick), element("th", { scope: "row" }, each.tag), element("td", { class: "cap-share" }, share, `${each.pictures}`),
        element("td", {}, element("span", { class: `cap-advice ${each.advice}` }, each.advice)), element("td", { class: "ln-quiet" }, each.reason));
    }));
    if (rows.length < advice.length)
      table.append(element("tr", {}, element("td", { colspan: "5" }, element("button", { type: "button", class: "cap-link", onclick: () => ((all = true), render()) }, `Show ${advice.length - rows.length} more tags that stay`))));
    renderPreview();
  }

  function renderPreview() {
    const gone = new Set(pruned());
    const name = joinTags(store.triggers) || "The LoRA itself";
    learned.replaceChildren(element("b", {}, `Learned into ${name}: `), joinTags([...gone]) || "nothing more");
    free.replaceChildren(element("b", {}, "Stays free to prompt: "), joinTags(advice.filter((each) => !gone.has(each.tag)).map((each) => each.tag)) || "nothing");
    dryRun.look();
  }

  const node = element("div", { class: "cap-panel" },
    element("p", { class: "ln-quiet" }, "What a caption names, the model puts down to those words. What it does not name, to the trigger word. So tags of what is always there go, and tags of what varies stay. The ticks are advice; you decide."),
    element("div", { class: "cap-scroll", tabindex: "0", role: "region", "aria-label": "Tags by how constant they are" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["Prune", "Tag", "Pictures", "Advice", "Why"].map((head) => element("th", { scope: "col" }, head)))), table)),
    element("div", { class: "cap-preview" }, learned, free),
    element("div", { class: "ln-row" }, dryRun.button), dryRun.result);

  function update(what) {
    if (!["captions", "pictures", "opened", "triggers"].some((each) => what.has(each))) return;
    clearTimeout(timer);
    timer = setTimeout(look, 400);
  }
  return { node, update };
}
