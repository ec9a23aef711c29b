// Beside the grid: what the checks found with a fix for each, the buckets as a chart, the folders with their repeats.
import { element } from "./shared.js";

const KINDS = {
  unreadable: "Cannot be read", alike: "Nearly the same", blurred: "Blurred", small: "Too small", cropped: "Much is cut off",
  lonely: "Alone in its bucket", transparent: "Transparent", turned: "Upright only by a note",
};
const MARKS = { error: "✗", warning: "!", note: "·" };
const FIRST = 5; // findings of a kind that are shown at once

function plural(count, what) {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

/** A section that can be folded, with a heading that says how much is in it. */
function makeSection(title) {
  const count = element("span", { class: "ln-quiet" });
  const body = element("div", { class: "bd-body" });
  const section = element("details", { class: "bd-section", open: true }, element("summary", {}, element("b", {}, title), " ", count), body);
  return { section, count, body };
}

/** The check list. `run()` looks at all pictures, in slices between which other questions get their turn. */
export function makeChecks(kernel, { edit, open, select, onfound, keepFocus }) {
  const { section, count, body } = makeSection("Checks");
  const bar = element("progress", { max: 1, value: 0, "aria-label": "Pictures looked at" });
  const opened = new Set(); // kinds of which all findings are shown
  let turn = 0;
  let last = { findings: [], problems: [] };

  async function run() {
    const mine = ++turn;
    for (let fresh = true; ; fresh = false) {
      let answer;
      try {
        ({ answer } = await kernel.ask("check", { fresh }));
      } catch (error) {
        if (mine === turn) body.replaceChildren(element("p", { class: "bd-bad" }, error.message));
        return;
      }
      if (mine !== turn) return; // a newer run has begun
      if (!answer.left) {
        last = answer;
        return draw();
      }
      bar.value = 1 - answer.left / answer.total;
      count.textContent = `looking at ${answer.total - answer.left} of ${answer.total} pictures`;
      if (!bar.isConnected) body.prepend(bar);
    }
  }

  function draw() {
    const kinds = new Map();
    for (const finding of last.findings) kinds.set(finding.kind, [...(kinds.get(finding.kind) ?? []), finding]);
    const found = last.findings.length + last.problems.length;
    count.textContent = found ? plural(found, "finding") : "nothing to mend";
    const groups = [...kinds].map(([kind, findings]) => drawKind(kind, findings));
    if (last.problems.length) groups.push(drawProblems(last.problems));
    if (!found) groups.push(element("p", { class: "bd-good" }, "✓ Nothing to mend."));
    keepFocus(() => body.replaceChildren(...groups));
    onfound(last.findings);
  }

  function drawKind(kind, findings) {
    const names = [...new Set(findings.flatMap((finding) => finding.pictures))];
    const shown = opened.has(kind) ? findings : findings.slice(0, FIRST);
    const more = findings.length - shown.length;
    return element("div", { class: "bd-kind", role: "group", "aria-label": KINDS[kind] },
      element("div", { class: "ln-row" }, element("b", {}, `${KINDS[kind]} (${findings.length})`),
        kind === "unreadable" ? null : element("button", { class: "bd-link", onclick: () => select(names) }, "select in the grid")),
      ...shown.map((finding) => drawFinding(finding)),
      more > 0 ? element("button", { class: "bd-link", onclick: () => (opened.add(kind), draw()) }, `show ${more} more`) : null);
  }

  function drawFinding({ kind, problem, fixes }) {
    const name = kind === "unreadable"
      ? element("b", {}, problem.where)
      : element("button", { class: "bd-link", onclick: () => open(problem.where) }, problem.where);
    return element("div", { class: `bd-finding bd-${problem.severity}` },
      element("div", {}, element("span", { class: "bd-mark", "aria-label": problem.severity, role: "img" }, MARKS[problem.severity]), name),
      element("div", {}, problem.message, " ", element("i", { class: "ln-quiet" }, problem.fix)),
      fixes.length ? element("div", { class: "ln-row" },
        ...fixes.map((fix) => element("button", { "aria-label": `${fix.label}: ${problem.where}`, onclick: () => edit(fix.edit, fix.arguments) }, fix.label))) : null);
  }

  function drawProblems(problems) {
    return element("div", { class: "bd-kind", role: "group", "aria-label": "The set as a whole" },
      element("div", { class: "ln-row" }, element("b", {}, `The set and its captions (${problems.length})`)),
      ...problems.map((problem) => element("div", { class: `bd-finding bd-${problem.severity}` },
        element("div", {}, element("span", { class: "bd-mark", "aria-label": problem.severity, role: "img" }, MARKS[problem.severity]), element("b", {}, problem.where)),
        element("div", {}, problem.message, " ", element("i", { class: "ln-quiet" }, problem.fix)))));
  }

  return { section, run };
}

/** The buckets: their shapes and how many pictures each has. `onchoose([width, height])` shows one bucket's. */
export function makeBuckets(onchoose) {
  const { section, count, body } = makeSection("Buckets");
  return {
    section,
    show({ buckets, batch }) {
      const most = Math.max(...buckets.map((bucket) => bucket[2]), 1);
      const largest = Math.max(...buckets.flatMap(([width, height]) => [width, height]), 1);
      count.textContent = plural(buckets.length, "size");
      body.replaceChildren(...buckets.map(([width, height, pictures]) => {
        const alone = pictures === 1 && batch > 1 && buckets.length > 1;
        const shape = element("span", { class: "bd-shape" });
        Object.assign(shape.style, { width: `${(26 * width) / largest}px`, height: `${(26 * height) / largest}px` });
        const bar = element("span", { class: `bd-bar${alone ? " bd-alone" : ""}` });
        bar.style.width = `${(100 * pictures) / most}%`;
        const text = `${width} x ${height}`;
        return element("button", {
          class: "bd-bucket", title: "Show these pictures", onclick: () => onchoose([width, height]),
          "aria-label": `Bucket ${text}: ${plural(pictures, "picture")}${alone ? ", alone" : ""}. Show them`,
        },
        element("span", { class: "bd-box" }, shape), element("span", { class: "bd-size" }, text),
        element("span", { class: "bd-track" }, bar), element("span", { class: "bd-count" }, alone ? "1 alone" : String(pictures)));
      }));
    },
  };
}

/** The folders and how often the pictures of each are seen. */
export function makeFolders(edit) {
  const { section, count, body } = makeSection("Folders: pictures x repeats");
  return {
    section,
    show({ folders, seen }) {
      count.textContent = `${seen.toLocaleString("en")} seen in an epoch`;
      body.replaceChildren(...folders.map(({ name, repeats, pictures }) => {
        const label = name || "images (no folder)";
        const change = (event) => {
          const value = Number(event.target.value);
          if (Number.isInteger(value) && value >= 1 && value !== repeats) edit("repeats", { folder: name, repeats: value });
          else event.target.value = repeats;
        };
        const field = element("input", {
          type: "number", min: 1, max: 1000, value: String(repeats), class: "bd-number", "aria-label": `Repeats of ${label}`, onchange: change,
        });
        return element("div", { class: "ln-row bd-folder" }, element("span", { class: "bd-foldername" }, label),
          element("span", { title: plural(pictures, "picture") }, `${pictures} x`), field, element("span", {}, ` = ${(pictures * repeats).toLocaleString("en")}`));
      }));
      if (!folders.length) body.replaceChildren(element("p", { class: "ln-quiet" }, "No pictures yet."));
    },
  };
}
