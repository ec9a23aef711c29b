// The tagger's screen: which model, how sure, what happens to captions that are there; progress that survives a restart.
import { element, renderWith } from "./shared.js";

const MODES = {
  skip: "leave captions that are there",
  append: "add behind what is there",
  prepend: "add in front of what is there",
  replace: "write all anew",
};
const TASKS = { short: "one sentence", detailed: "two or three sentences", paragraph: "a paragraph" };
const KINDS = {
  shipped: ["The small tagger of this package", "Knows the demo's world only. No download."],
  wd: ["WD tagger v3", "Tags, for anime and drawings. 0.4 to 1.3 GB are downloaded once."],
  florence: ["Florence-2", "Sentences, for photographs. About 0.5 or 1.6 GB are downloaded once; slow without a GPU."],
};

let fields = 0;
function labelled(title, input, hint = "") {
  input.id = `tag-field-${fields++}`;
  const about = hint && element("small", { class: "ln-quiet", id: `${input.id}-hint` }, hint);
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return element("div", { class: "tag-field" }, element("label", { for: input.id }, title), input, about);
}

function select(options, selected) {
  return element("select", {}, ...Object.entries(options).map(([value, text]) => element("option", { value, selected: value === selected }, text)));
}

function words(text) {
  return text.split(",").map((word) => word.trim()).filter(Boolean);
}

/** A number from 0 to 1, or the cut that is found for each picture. */
function threshold(title, value, hint) {
  const number = element("input", { type: "number", min: "0", max: "1", step: "0.05", value: String(value) });
  const cut = element("input", { type: "checkbox", onchange: () => (number.disabled = cut.checked) });
  const box = labelled(title, number, hint);
  box.insertBefore(element("label", { class: "tag-check" }, cut, "find it (MCut)"), box.lastChild);
  return { box, read: () => (cut.checked ? null : number.value === "" ? number.value : Number(number.value)) };
}

/** The choices. Returns {node, read()}. */
function makeSettings(open) {
  const kinds = element("fieldset", { class: "tag-kinds" }, element("legend", {}, "Who looks at the pictures"));
  for (const [kind, [title, about]] of Object.entries(KINDS)) {
    const radio = element("input", { type: "radio", name: `tag-kind-${fields}`, value: kind, checked: kind === "shipped", onchange: showFields });
    kinds.append(element("label", { class: "tag-kind" }, radio, element("span", {}, element("b", {}, title), element("small", { class: "ln-quiet" }, about))));
  }
  const list = (names) => Object.fromEntries([...names.map((name) => [name, name]), ["", "another: a folder or hub name"]]);
  const bases = { wd: select(list(open.bases.wd)), florence: select(list(open.bases.florence)) };
  const other = element("input", { placeholder: "someone/their-tagger, or a folder" });
  const general = threshold("General tags from", 0.35, "How sure the tagger must be, 0 to 1. Less gives more tags, and more wrong ones.");
  const characters = threshold("Characters from", 0.85, "Names of known characters.");
  const unwanted = element("input", { placeholder: "solo, simple background" });
  const task = select(TASKS, "detailed");
  const existing = select(MODES, "skip");
  const triggers = element("input", { value: open.triggers.join(", "), placeholder: "mochi" });
  const baseBox = { wd: labelled("Model", bases.wd), florence: labelled("Model", bases.florence) };
  const otherBox = labelled("Folder or hub name", other);
  const tagBoxes = [general.box, characters.box, labelled("Never write", unwanted, "Tags that are left out, with commas.")];
  const taskBox = labelled("How much", task);
  const node = element("div", { class: "tag-settings" }, kinds,
    element("div", { class: "tag-fields" }, baseBox.wd, baseBox.florence, otherBox, ...tagBoxes, taskBox, labelled("Captions", existing), labelled("Trigger words first", triggers)));

  const kind = () => kinds.querySelector("input:checked").value;
  const base = () => (kind() === "shipped" ? "shipped" : bases[kind()].value || other.value.trim());
  function showFields() {
    baseBox.wd.hidden = kind() !== "wd";
    baseBox.florence.hidden = kind() !== "florence";
    otherBox.hidden = kind() === "shipped" || Boolean(bases[kind()].value);
    taskBox.hidden = kind() !== "florence";
    tagBoxes.forEach((box) => (box.hidden = kind() === "florence"));
  }
  Object.values(bases).forEach((each) => each.addEventListener("change", showFields));
  showFields();
  return {
    node, existing,
    read: () => ({
      captioner: kind() === "florence" ? "florence" : "wd", base: base(), threshold: general.read(), character_threshold: characters.read(),
      unwanted: words(unwanted.value), task: task.value, existing: existing.value, triggers: words(triggers.value),
    }),
  };
}

async function build(root, kernel, status) {
  root.classList.add("tag");
  let { answer: open } = await kernel.ask("open");
  const settings = makeSettings(open);
  const device = element("p", { class: "ln-quiet tag-device" });
  const todo = element("p", {});
  const bar = element("div", { class: "tag-bar", role: "progressbar", "aria-label": "Pictures captioned", "aria-valuemin": "0", hidden: true }, element("span"));
  const progress = element("p", { class: "tag-progress" });
  const recent = element("ul", { class: "tag-recent", "aria-label": "The captions written last" });
  const trial = element("div", { class: "tag-trial", hidden: true });
  const problems = element("ul", { class: "tag-problems" });
  const button = (text, onclick, kind = "") => element("button", { type: "button", class: kind, onclick }, text);
  const start = button("Start", begin, "primary");
  const hold = button("Pause", () => ((running = false), (hold.disabled = true)));
  const resume = button("Continue", () => run());
  const undo = button("Undo all of it", takeBack);
  const tryOne = button("Try on one picture", attempt);
  let job = open.job;
  let running = false;
  let closed = false;
  let trialUrl;

  root.append(settings.node, todo, element("div", { class: "ln-row" }, start, tryOne, hold, resume, undo), bar, progress, device, status, trial, recent, problems);

  function show() {
    const bare = settings.existing.value === "skip";
    todo.textContent = open.pictures ? (bare ? `${open.bare} of ${open.pictures} pictures have no caption yet.` : `${open.pictures} pictures; originals are kept as .txt.bak.`) : "There are no pictures in this project yet.";
    start.disabled = running || !open.pictures;
    tryOne.disabled = running || !open.pictures;
    hold.hidden = !running;
    resume.hidden = running || !job || job.finished;
    undo.hidden = running || !job?.written;
    bar.hidden = !job || (!running && job.finished && !job.total);
    if (!job) return;
    const share = job.total ? (100 * job.done) / job.total : 100;
    bar.setAttribute("aria-valuemax", job.total);
    bar.setAttribute("aria-valuenow", job.done);
    bar.firstChild.style.width = `${share}%`;
    const isSaid = !running && status.textContent.includes(job.text);
    progress.textContent = isSaid ? "" : (running ? "" : job.finished ? "Finished: " : "Stopped: ") + job.text;
    problems.replaceChildren(...job.problems.map((each) => element("li", {}, each)));
  }

  async function ask(question, details) {
    try {
      return await kernel.ask(question, details);
    } catch (error) {
      status.say(error.message, "bad");
      return null;
    }
  }

  async function begin() {
    const wanted = settings.read();
    if (!wanted.base) return status.say("Name a folder or a model of the Hugging Face hub.", "bad");
    const found = await ask("start", { settings: wanted });
    if (!found) return;
    job = found.answer;
    recent.replaceChildren();
    if (job.finished) {
      status.say("There is nothing to do: every picture has a caption. Choose what shall happen to those that are there.");
      return show();
    }
    run();
  }

  /** One slice after the other: the kernel is free for other questions in between. */
  async function run() {
    running = true;
    hold.disabled = false;
    status.say("Loading the model …");
    show();
    while (running && !closed) {
      const found = await ask("step");
      if (!found) break;
      job = found.answer.job;
      device.textContent = `Runs on: ${found.answer.device}`;
      found.answer.recent.forEach(({ name, text }) => recent.prepend(element("li", {}, element("b", {}, name), ` ${text}`)));
      while (recent.childElementCount > 6) recent.lastChild.remove();
      if (job.finished) break;
      status.say("");
      show();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    running = false;
    if (job?.finished) status.say(`Done: ${job.text}.`, "good");
    await recount();
  }

  async function recount() {
    const found = closed ? null : await ask("open");
    if (found) open = found.answer;
    show();
  }

  async function attempt() {
    const wanted = settings.read();
    if (!wanted.base) return status.say("Name a folder or a model of the Hugging Face hub.", "bad");
    status.say("Loading the model …");
    const found = await ask("try", { settings: wanted, name: open.first });
    if (!found) return;
    status.say("This is what it would write. Nothing was written.");
    device.textContent = `Runs on: ${found.answer.device}`;
    URL.revokeObjectURL(trialUrl);
    trialUrl = URL.createObjectURL(new Blob([found.buffers[0]], { type: "image/webp" }));
    trial.hidden = false;
    trial.replaceChildren(element("img", { src: trialUrl, alt: found.answer.name }), element("p", {}, element("b", {}, found.answer.name), element("br"), found.answer.text));
  }

  async function takeBack() {
    const found = await ask("undo");
    if (!found) return;
    const { count, left } = found.answer;
    status.say(`Undone: ${count} captions are as they were.${left.length ? ` Edited since, and left: ${left.join(", ")}.` : ""}`, "good");
    job = null;
    progress.textContent = "";
    recent.replaceChildren();
    await recount();
  }

  settings.existing.addEventListener("change", show);
  show();
  if (job && !job.finished) status.say(`A captioning was stopped at ${job.done} of ${job.total} pictures. Continue goes on there.`);
  return () => {
    closed = true;
    URL.revokeObjectURL(trialUrl);
  };
}

export default { render: renderWith("Tagger", build) };
