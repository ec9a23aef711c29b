// Files from the user's computer to the project, in pieces that are each answered; and pictures from a path or address.
import { element } from "./shared.js";

/** All files of what was dropped, folders included: [{file, name}], the name with its folder. */
async function listDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
      if (!some.length) return;
      for (const each of some) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

/**
 * The place to bring pictures in. `ondone(answer)` gets what the kernel says of them; `say(text, kind)` tells how it goes.
 */
export function makeUpload(kernel, { ondone, say }) {
  const picker = element("input", {
    type: "file", multiple: true, hidden: true, accept: "image/*,.zip,.txt,.avif,.webp", "aria-label": "Choose files",
  });
  const choose = element("button", { class: "primary", onclick: () => picker.click() }, "Choose files");
  const repeats = element("input", { type: "number", min: 1, max: 1000, placeholder: "auto", class: "bd-number" });
  const name = element("input", { type: "text", placeholder: "auto", class: "bd-short" });
  const source = element("input", { type: "text", placeholder: "/content/drive/MyDrive/mochi.zip or https://...", class: "bd-long" });
  const bar = element("progress", { max: 1, value: 0, hidden: true, "aria-label": "Upload" });
  const colab = element("p", { class: "ln-quiet", hidden: true },
    "On Colab: if files do not arrive here, run upload_on_colab(project) in a cell, or put them on Drive and give the path.");
  const stop = element("button", { hidden: true, onclick: () => (stopped = true) }, "Stop");
  let piece = 512 * 1024;
  let busy = false;
  let stopped = false;

  const target = () => ({ repeats: repeats.value ? Number(repeats.value) : null, name: name.value.trim() });

  async function attempt(work) {
    if (busy) return say("One upload at a time: wait until this one has ended.", "bad");
    busy = choose.disabled = add.disabled = true;
    try {
      ondone((await work()).answer);
    } catch (error) {
      say(error.message, "bad");
    }
    busy = choose.disabled = add.disabled = false;
    bar.hidden = stop.hidden = true;
  }

  async function send(files) {
    if (!files.length) return;
    await attempt(async () => {
      const upload = `u${Math.random().toString(36).slice(2, 12)}`;
      const total = files.reduce((sum, { file }) => sum + file.size, 0) || 1;
      let sent = 0;
      stopped = bar.hidden = stop.hidden = false;
      for (const [at, { file, name: path }] of files.entries()) {
        say(`Sending ${at + 1} of ${files.length}: ${path}`);
        let there = 0;
        while (there < file.size) {
          if (stopped) {
            await kernel.ask("cancel", { upload });
            throw new Error("Stopped. Nothing was added.");
          }
          const bytes = new Uint8Array(await file.slice(there, there + piece).arrayBuffer());
          const details = { upload, name: path, offset: there, total: file.size };
          ({ there } = (await kernel.ask("receive", details, [bytes])).answer);
          bar.value = (sent + there) / total;
        }
        sent += file.size;
      }
      stop.hidden = true;
      say("Looking at what has arrived ...");
      return kernel.ask("finish", { upload, ...target() });
    });
  }

  async function addSource() {
    if (!source.value.trim()) return source.focus();
    say("Fetching the pictures ...");
    await attempt(async () => {
      const answer = await kernel.ask("add", { source: source.value.trim(), ...target() });
      source.value = "";
      return answer;
    });
  }

  picker.addEventListener("change", () => {
    const files = [...picker.files].map((file) => ({ file, name: file.name }));
    picker.value = "";
    send(files);
  });
  const add = element("button", { onclick: addSource }, "Add");
  source.addEventListener("keydown", (event) => event.key === "Enter" && addSource());
  const zone = element("div", { class: "bd-drop" },
    element("div", { class: "ln-row" },
      choose, element("span", { class: "ln-quiet" }, "or drop pictures, captions, folders or a .zip here"), stop, picker),
    bar,
    element("details", {},
      element("summary", {}, "From Drive or an address, or into a folder of your choice"),
      element("div", { class: "ln-row" }, element("label", { class: "bd-grow" }, "Path or address ", source), add),
      element("div", { class: "ln-row" },
        element("label", {}, "Folder's name ", name), element("label", {}, "Repeats ", repeats),
        element("span", { class: "ln-quiet" }, "auto: the folder that they come in, or the first one here")),
      colab));
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(depth + change, 0);
    zone.classList.toggle("bd-over", depth > 0);
  };
  zone.addEventListener("dragenter", (event) => (event.preventDefault(), mark(1)));
  zone.addEventListener("dragleave", () => mark(-1));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    mark(-depth);
    send(await listDropped(event.dataTransfer));
  });
  return {
    zone,
    show(list) {
      piece = list.piece;
      colab.hidden = !list.colab;
    },
  };
}
