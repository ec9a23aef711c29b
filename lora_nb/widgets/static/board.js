// The dataset board: pictures in, looked at, mended and sorted out. The kernel holds the truth; this page shows it.
import { element, renderWith } from "./shared.js";
import { Grid, Thumbnails } from "./board_grid.js";
import { makePreview } from "./board_preview.js";
import { makeBuckets, makeChecks, makeFolders } from "./board_panels.js";
import { makeUpload } from "./board_upload.js";

const KEYS = [
  ["Arrow keys, Page Up, Page Down, Home, End", "go through the pictures"],
  ["Enter", "open the picture; Escape: back"],
  ["Space", "select, or no longer"],
  ["Shift and arrow keys", "select a range"],
  ["Ctrl A", "select all; Escape: none"],
  ["Delete", "exclude what is selected"],
  ["[ and ]", "turn it to the left, to the right"],
  ["Ctrl Z, Ctrl Shift Z", "undo, redo"],
  ["?", "show or hide this"],
];

async function build(root, kernel, status) {
  let list = { pictures: [], excluded: [], folders: [], buckets: [], seen: 0, undo: "", redo: "" };
  let filter = { kind: "all" };
  let found = new Map(); // findings by picture

  // What stands where
  const counts = element("span", { class: "ln-quiet" });
  const undo = element("button", { onclick: () => change("undo") }, "Undo");
  const redo = element("button", { onclick: () => change("redo") }, "Redo");
  const help = element("button", { "aria-label": "Keyboard help", "aria-expanded": "false", onclick: () => toggleHelp() }, "?");
  const helpText = element("dl", { class: "bd-help", hidden: true }, ...KEYS.flatMap(([keys, what]) => [element("dt", {}, keys), element("dd", {}, what)]));
  const head = element("div", { class: "ln-row bd-head" }, element("h2", { class: "bd-title" }, "Pictures"), counts, undo, redo, help);
  const filters = element("div", { class: "ln-row", role: "group", "aria-label": "Which pictures" });
  const chosen = element("span", { class: "bd-chosen" });
  const act = (label, edit, more = {}) =>
    element("button", { onclick: () => editChosen(edit, more) }, label);
  const takeOut = act("Exclude", "exclude");
  const bringBack = act("Restore", "restore");
  const turns = [act("↺ Turn left", "turn", { quarters: 3 }), act("↻ Turn right", "turn", { quarters: 1 }), act("⇋ Mirror", "flip")];
  const tools = element("div", { class: "ln-row bd-tools", role: "toolbar", "aria-label": "Selected pictures" }, chosen, takeOut, bringBack, ...turns);
  const empty = element("p", { class: "bd-empty ln-quiet", hidden: true });

  // The parts
  const thumbnails = new Thumbnails(kernel, () => {});
  const grid = new Grid(thumbnails, { describe, onopen: (picture) => openPicture(picture), onselect: showSelection });
  const preview = makePreview(kernel, {
    edit: (name, details) => change("edit", { edit: name, arguments: details }), say: status.say,
    buckets: () => list.buckets, onstep: step, onclose: closePicture,
  });
  const upload = makeUpload(kernel, { say: status.say, ondone: (answer) => take(answer) });
  const checks = makeChecks(kernel, {
    edit: (name, details) => change("edit", { edit: name, arguments: details }),
    open: (name) => openPicture(list.pictures.find((picture) => picture.name === name)),
    select: (names) => (setFilter({ kind: "all" }), grid.select(names), grid.goTo(names[0]), showGrid()),
    keepFocus,
    onfound: (findings) => {
      found = new Map();
      for (const finding of findings) for (const name of finding.pictures) found.set(name, [...(found.get(name) ?? []), finding]);
      const unreadable = findings.some((finding) => finding.kind === "unreadable" && list.pictures.some((picture) => picture.name === finding.problem.where));
      if (unreadable) kernel.ask("list").then(({ answer }) => showList(answer)); // they were not looked into before
      else showPictures();
    },
  });
  const bucketChart = makeBuckets((bucket) => (setFilter({ kind: "bucket", bucket }), showGrid()));
  const folders = makeFolders((name, details) => change("edit", { edit: name, arguments: details }));
  const overview = element("div", { class: "bd-overview" }, filters, tools, grid.box, empty);
  const main = element("div", { class: "bd-main" }, overview, preview.panel);
  const side = element("div", { class: "bd-side" }, checks.section, bucketChart.section, folders.section);
  root.classList.add("bd");
  root.prepend(head, helpText, upload.zone);
  root.append(element("div", { class: "bd-columns" }, main, side));
  head.after(status);

  // What is done: every change is one question; the answer brings the new list
  let working = Promise.resolve();
  function change(what, details = {}) {
    working = working.then(async () => {
      try {
        take((await kernel.ask(what, details)).answer);
      } catch (error) {
        status.say(error.message, "bad");
      }
    });
    return working;
  }

  /** Do something that may take away what has the focus, and give the focus to what is near then. */
  function keepFocus(work) {
    const active = root.getRootNode().activeElement;
    const isOurs = active && root.contains(active);
    work();
    if (isOurs && (!active.isConnected || active.disabled || !active.offsetParent)) {
      if (preview.picture) preview.focus();
      else grid.focus();
    }
  }

  function take(answer) {
    status.say([answer.said, ...(answer.problems ?? []).map((each) => `${each.where}: ${each.message}`)].join("\n"), answer.problems?.length ? "" : "good");
    keepFocus(() => showList(answer.list));
    checks.run();
  }

  function editChosen(edit, more) {
    const pictures = [...grid.selection];
    if (pictures.length) change("edit", { edit, arguments: { pictures, ...more } });
  }

  // What is shown
  function describe(picture) {
    const findings = found.get(picture.name) ?? [];
    const flags = [
      picture.is_excluded && "excluded", !picture.is_excluded && !picture.has_caption && "no caption", picture.is_edited && "edited",
      ...findings.map((finding) => finding.problem.message),
    ].filter(Boolean);
    const marks = `${findings.some((finding) => finding.problem.severity !== "note") ? "!" : ""}${picture.is_edited ? "✎" : ""}`;
    return { label: `${picture.name}, ${picture.width} by ${picture.height}${flags.length ? `, ${flags.join(", ")}` : ""}`, marks };
  }

  function pass(picture) {
    if (filter.kind === "flagged") return found.has(picture.name);
    if (filter.kind === "bucket") {
      const bucket = list.buckets[picture.bucket];
      return bucket && bucket[0] === filter.bucket[0] && bucket[1] === filter.bucket[1];
    }
    return true;
  }

  function unpack([name, width, height, version, repeats, flags, bucket]) {
    const has = (letter) => flags.includes(letter);
    return { name, width, height, version, repeats, bucket, has_caption: has("c"), is_edited: has("e"), is_excluded: has("x") };
  }

  function showList(next) {
    list = { ...next, pictures: next.pictures.map(unpack), excluded: next.excluded.map(unpack) };
    counts.textContent = `${list.pictures.length.toLocaleString("en")} pictures, ${list.seen.toLocaleString("en")} seen in an epoch, trained at ${list.resolution} pixels`;
    for (const [button, text, name] of [[undo, list.undo, "Undo"], [redo, list.redo, "Redo"]]) {
      button.disabled = !text;
      button.title = text;
      button.setAttribute("aria-label", text ? `${name}: ${text}` : name);
    }
    upload.show(list);
    bucketChart.show(list);
    folders.show(list);
    showPictures();
    const open = preview.picture;
    if (!open) return;
    const own = (name) => name.replace("_excluded/", "");
    const same = [...list.pictures, ...list.excluded].find((picture) => picture.name === open.name)
      ?? [...list.pictures, ...list.excluded].find((picture) => own(picture.name) === own(open.name));
    if (same) preview.open(same, false);
    else preview.close();
  }

  function showPictures() {
    const flagged = list.pictures.filter((picture) => found.has(picture.name)).length;
    if ((filter.kind === "flagged" && !flagged) || (filter.kind === "excluded" && !list.excluded.length)) filter = { kind: "all" };
    const choices = [["all", `All ${list.pictures.length}`], ["flagged", `With findings ${flagged}`], ["excluded", `Excluded ${list.excluded.length}`]];
    if (filter.kind === "bucket") choices.push(["bucket", `Bucket ${filter.bucket.join(" x ")}`]);
    filters.replaceChildren(...choices.map(([kind, label]) => element("button", {
      class: "bd-filter", "aria-pressed": String(filter.kind === kind), disabled: (kind === "flagged" && !flagged) || (kind === "excluded" && !list.excluded.length),
      onclick: () => setFilter({ ...filter, kind }),
    }, label)));
    const shown = filter.kind === "excluded" ? list.excluded : list.pictures.filter(pass);
    empty.hidden = shown.length > 0;
    empty.textContent = list.pictures.length ? "No picture here." : "No pictures yet: drop some above, or choose files.";
    grid.box.hidden = !shown.length;
    grid.show(shown);
  }

  function setFilter(next) {
    const hadFocus = filters.contains(document.activeElement) || filters.getRootNode().activeElement?.closest?.(".bd-filter");
    filter = next;
    showPictures();
    grid.box.scrollTop = 0;
    if (hadFocus) filters.querySelector('[aria-pressed="true"]')?.focus();
  }

  function showSelection(names) {
    const inExcluded = filter.kind === "excluded";
    chosen.textContent = names.size ? `${names.size} selected` : "None selected";
    for (const button of [takeOut, bringBack, ...turns]) button.disabled = !names.size;
    takeOut.hidden = inExcluded;
    bringBack.hidden = !inExcluded;
  }

  function openPicture(picture) {
    if (!picture) return;
    overview.hidden = true;
    preview.open(picture);
  }

  function closePicture(picture) {
    showGrid();
    grid.goTo(picture.name);
    grid.focus();
  }

  function showGrid() {
    preview.panel.hidden = true;
    overview.hidden = false;
    grid._measure();
  }

  function step(by) {
    const place = grid.pictures.findIndex((picture) => picture.name === preview.picture?.name);
    const next = grid.pictures[place + by];
    if (next) preview.open(next, false);
  }

  function toggleHelp() {
    helpText.hidden = !helpText.hidden;
    help.setAttribute("aria-expanded", String(!helpText.hidden));
  }

  root.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    const key = event.key.toLowerCase();
    if (typing) return;
    const quarters = { "[": 3, "]": 1 }[key];
    if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
      const which = key === "y" || event.shiftKey ? "redo" : "undo";
      if (list[which]) change(which);
    } else if (key === "?") toggleHelp();
    else if (key === "delete" && filter.kind !== "excluded" && !preview.picture) editChosen("exclude", {});
    else if (quarters) {
      const pictures = preview.picture ? [preview.picture.name] : [...grid.selection];
      if (pictures.length) change("edit", { edit: "turn", arguments: { pictures, quarters } });
    } else return;
    event.preventDefault();
  });

  const { answer, buffers } = await kernel.ask("begin");
  const first = answer.pictures.map(unpack).filter((picture) => answer.names.includes(picture.name));
  thumbnails.put(first, answer.names, buffers);
  showList(answer);
  setTimeout(() => checks.run(), 300); // the first thumbnails come first
  return () => {
    thumbnails.close();
    grid.close();
    preview.cleanUp();
  };
}

export default { render: renderWith("Dataset board", build) };
