// The grid viewer in a notebook: viewer.js shows it, the kernel has the pictures.
import { askInParts, element, renderWith } from "./shared.js";
import { showGrid } from "./viewer.js";

async function build(root, kernel, status) {
  const { answer: view } = await kernel.ask("view");
  const addresses = new Map(); // "number full" => promise of an address
  const load = (number, full) => {
    const key = `${number} ${full}`;
    if (!addresses.has(key)) {
      const address = askInParts(kernel, "picture", { number, full }).then((blob) => URL.createObjectURL(blob));
      address.catch((error) => {
        addresses.delete(key);
        status.say(error.message, "bad");
      });
      addresses.set(key, address);
    }
    return addresses.get(key);
  };

  const download = (kind, name) => async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    status.say("The file is being made …");
    try {
      const blob = await askInParts(kernel, "file", { kind });
      const address = URL.createObjectURL(blob);
      element("a", { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
      status.say(`${name} is in your downloads.`, "good");
    } catch (error) {
      status.say(error.message, "bad");
    }
    button.disabled = false;
  };
  const name = view.title.split(":")[0].replace(/[^\p{L}\p{N}_-]+/gu, "_") || "grid";
  const tools = [
    element("button", { onclick: download("png", `${name}-grid.png`), title: "The figure, with all settings inside" }, "Download PNG"),
    element("button", { onclick: download("html", `${name}-grid.html`), title: "This viewer as one file, to show to others" }, "Download HTML"),
  ];
  const place = element("div");
  root.prepend(place);
  const viewer = showGrid(place, view, { loadPicture: load, tools });
  return () => {
    viewer.close();
    for (const address of addresses.values()) address.then((url) => URL.revokeObjectURL(url), () => {});
  };
}

export default { render: renderWith("Grid of pictures", build) };
