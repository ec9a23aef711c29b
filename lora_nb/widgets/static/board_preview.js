// One picture, large: what its bucket will show of it, and what can be done to it.
import { element } from "./shared.js";

const HANDLE = 16; // px from an edge in which a drag moves that edge

/** The box of a crop over a picture, in the picture's pixels, moved by dragging. `onchange(box)` after every move. */
class CropBox {
  constructor(stage, image, onchange) {
    Object.assign(this, { stage, image, onchange, shape: 0 });
    this.frame = element("div", { class: "bd-crop", hidden: true });
    stage.append(this.frame);
    stage.addEventListener("pointerdown", (event) => this._start(event));
    stage.addEventListener("pointermove", (event) => this._move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => (this.drag = undefined));
  }

  open(width, height) {
    Object.assign(this, { width, height, frame: this.frame });
    this.frame.hidden = false;
    this.set({ left: 0, top: 0, right: width, bottom: height });
  }

  close() {
    this.frame.hidden = true;
    this.drag = undefined;
  }

  set({ left, top, right, bottom }) {
    const clamp = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
    this.box = { left: clamp(left, this.width), top: clamp(top, this.height), right: clamp(right, this.width), bottom: clamp(bottom, this.height) };
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    const { style } = this.frame;
    style.left = percent(this.box.left, this.width);
    style.top = percent(this.box.top, this.height);
    style.width = percent(this.box.right - this.box.left, this.width);
    style.height = percent(this.box.bottom - this.box.top, this.height);
    this.onchange(this.box);
  }

  /** Keep to a shape (width / height; 0: any): the largest box of it around the middle of the present one. */
  setShape(shape) {
    this.shape = shape;
    if (!shape) return;
    const wide = Math.min(this.width, this.height * shape);
    const high = wide / shape;
    const middle = { x: (this.box.left + this.box.right) / 2, y: (this.box.top + this.box.bottom) / 2 };
    const left = Math.min(Math.max(middle.x - wide / 2, 0), this.width - wide);
    const top = Math.min(Math.max(middle.y - high / 2, 0), this.height - high);
    this.set({ left, top, right: left + wide, bottom: top + high });
  }

  _point(event) {
    const seen = this.image.getBoundingClientRect();
    return {
      x: ((event.clientX - seen.left) / seen.width) * this.width,
      y: ((event.clientY - seen.top) / seen.height) * this.height,
      near: (HANDLE / seen.width) * this.width,
    };
  }

  _start(event) {
    if (this.frame.hidden) return;
    event.preventDefault();
    const { x, y, near } = this._point(event);
    const { left, top, right, bottom } = this.box;
    const close = (a, b) => Math.abs(a - b) < near;
    const across = x > left - near && x < right + near;
    const down = y > top - near && y < bottom + near;
    const edges = {
      left: down && close(x, left), right: down && close(x, right), top: across && close(y, top), bottom: across && close(y, bottom),
    };
    const inside = x > left && x < right && y > top && y < bottom;
    if (Object.values(edges).some(Boolean)) this.drag = { kind: "edges", edges };
    else if (inside && (right - left < this.width - 1 || bottom - top < this.height - 1)) this.drag = { kind: "move", x: x - left, y: y - top };
    else this.drag = { kind: "draw", x, y };
    this.stage.setPointerCapture?.(event.pointerId);
  }

  _move(event) {
    if (!this.drag || this.frame.hidden) return;
    const { x, y } = this._point(event);
    const { kind } = this.drag;
    let { left, top, right, bottom } = this.box;
    if (kind === "move") {
      const wide = right - left;
      const high = bottom - top;
      left = Math.min(Math.max(x - this.drag.x, 0), this.width - wide);
      top = Math.min(Math.max(y - this.drag.y, 0), this.height - high);
      return this.set({ left, top, right: left + wide, bottom: top + high });
    }
    if (kind === "draw") {
      [left, right] = [this.drag.x, x].sort((a, b) => a - b);
      [top, bottom] = [this.drag.y, y].sort((a, b) => a - b);
    } else {
      const { edges } = this.drag;
      if (edges.left) left = Math.min(x, right - 16);
      if (edges.right) right = Math.max(x, left + 16);
      if (edges.top) top = Math.min(y, bottom - 16);
      if (edges.bottom) bottom = Math.max(y, top + 16);
    }
    if (this.shape) {
      const anchorRight = kind === "draw" ? x < this.drag.x : this.drag.edges.left;
      const anchorBottom = kind === "draw" ? y < this.drag.y : this.drag.edges.top;
      const onlyDown = kind === "edges" && !this.drag.edges.left && !this.drag.edges.right;
      let wide = onlyDown ? (bottom - top) * this.shape : right - left;
      wide = Math.min(wide, anchorRight ? right : this.width - left, (anchorBottom ? bottom : this.height - top) * this.shape);
      const high = wide / this.shape;
      if (anchorRight) left = right - wide;
      else right = left + wide;
      if (anchorBottom) top = bottom - high;
      else bottom = top + high;
    }
    this.set({ left, top, right, bottom });
  }
}

/**
 * The panel. `open(picture)` shows one; `edit(name, arguments)` does an edit; `onclose()` and `onstep(-1 | 1)` lead on;
 * `buckets()` gives those of the dataset.
 */
export function makePreview(kernel, { edit, onclose, onstep, say, buckets }) {
  let picture;
  let seen; // what training sees of it, once that is known
  let url = "";
  const title = element("h3", { class: "bd-title", tabindex: "-1" });
  const facts = element("p", { class: "ln-quiet" });
  const image = element("img", { alt: "", draggable: false });
  const shade = element("div", { class: "bd-seen", hidden: true });
  const stage = element("div", { class: "bd-stage" }, image, shade);
  const told = element("p", { class: "bd-told", role: "status" });
  const numbers = {};
  const crop = new CropBox(stage, image, (box) => showBox(box));

  const act = (label, action, more = {}) => element("button", { onclick: action, ...more }, label);
  const turnLeft = act("↺ Turn left", () => edit("turn", { pictures: [picture.name], quarters: 3 }));
  const turnRight = act("↻ Turn right", () => edit("turn", { pictures: [picture.name], quarters: 1 }));
  const mirror = act("⇋ Mirror", () => edit("flip", { pictures: [picture.name] }));
  const cropOpen = act("Crop …", () => startCrop());
  const exclude = act("Exclude", () => edit(picture.is_excluded ? "restore" : "exclude", { pictures: [picture.name] }));
  const reset = act("Back to the original", () => edit("reset", { pictures: [picture.name] }));
  const tools = element("div", { class: "ln-row" }, turnLeft, turnRight, mirror, cropOpen, exclude, reset);

  const shape = element("select", { onchange: () => crop.setShape(Number(shape.value)) });
  const field = (key, label) => {
    numbers[key] = element("input", { type: "number", min: 0, class: "bd-number", onchange: () => takeNumbers() });
    return element("label", {}, `${label} `, numbers[key]);
  };
  const cropTools = element("div", { class: "bd-croptools", hidden: true },
    element("div", { class: "ln-row" }, element("label", {}, "Shape ", shape),
      field("left", "Left"), field("top", "Top"), field("width", "Width"), field("height", "Height")),
    element("div", { class: "ln-row" },
      act("Crop", () => finishCrop(), { class: "primary" }), act("Cancel", () => stopCrop())));

  const panel = element("div", { class: "bd-preview", role: "region", "aria-label": "Picture", hidden: true },
    element("div", { class: "ln-row bd-head" },
      act("← All pictures", () => close()), title,
      act("‹", () => onstep(-1), { "aria-label": "Previous picture" }), act("›", () => onstep(1), { "aria-label": "Next picture" })),
    stage, told, facts, tools, cropTools);
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") cropTools.hidden ? close() : stopCrop();
    else if (event.target.closest("input, select")) return;
    else if (event.key === "ArrowLeft" && cropTools.hidden) onstep(-1);
    else if (event.key === "ArrowRight" && cropTools.hidden) onstep(1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  async function open(chosen, focus = true) {
    stopCrop();
    const same = picture && picture.name === chosen.name && picture.version === chosen.version && url;
    picture = chosen;
    panel.hidden = false;
    title.textContent = chosen.name;
    const often = chosen.repeats ? `, seen ${chosen.repeats} times in an epoch` : "";
    facts.textContent = `${chosen.width} x ${chosen.height} pixels${often}. ${chosen.is_excluded ? "Excluded." : chosen.has_caption ? "Has a caption." : "Has no caption."}`;
    exclude.textContent = chosen.is_excluded ? "Restore" : "Exclude";
    for (const tool of [turnLeft, turnRight, mirror, cropOpen]) tool.disabled = !chosen.width;
    reset.hidden = !chosen.is_edited;
    if (focus) title.focus({ preventScroll: true });
    if (same) return showSeen();
    seen = undefined;
    showSeen();
    const [wide, high] = [chosen.width || 4, chosen.height || 3];
    stage.style.width = `min(100%, ${Math.round((460 * wide) / high)}px, ${Math.max(4 * wide, 200)}px)`; // small ones enlarged
    stage.style.aspectRatio = `${wide} / ${high}`;
    try {
      const { answer, buffers } = await kernel.ask("preview", { name: chosen.name });
      if (picture !== chosen) return; // another one was chosen meanwhile
      seen = answer.crop;
      if (cropTools.hidden) showSeen();
      URL.revokeObjectURL(url);
      url = URL.createObjectURL(new Blob([buffers[0]], { type: "image/webp" }));
      image.src = url;
      image.alt = chosen.name;
    } catch (error) {
      image.removeAttribute("src");
      image.alt = error.message;
      say(error.message, "bad");
    }
  }

  function showSeen() {
    shade.hidden = !seen || picture.is_excluded;
    if (shade.hidden) {
      const unfit = seen === null ? "It fits no bucket, and cannot be trained on." : "";
      told.textContent = picture.is_excluded ? "It is not trained on." : unfit;
      return;
    }
    const [left, top, width, height] = seen.box.map((share) => `${100 * share}%`);
    Object.assign(shade.style, { left, top, width, height });
    const lost = seen.lost < 0.005 ? "Nothing is cut off." : `${Math.round(100 * seen.lost)} % is cut off.`;
    const scaled = seen.scale > 1.005 ? ` It is enlarged ${seen.scale.toFixed(1)} times.` : "";
    told.textContent = `Bright: what training sees, in its bucket ${seen.bucket.join(" x ")}. ${lost}${scaled}`;
  }

  function startCrop() {
    const shapes = buckets().map(([width, height, count]) => [width / height, `${width} x ${height} (${count} here)`]);
    shape.replaceChildren(...[[0, "any"], [1, "square"], ...shapes].map(([value, text]) => element("option", { value: String(value) }, text)));
    shade.hidden = true;
    cropTools.hidden = false;
    tools.hidden = true;
    stage.classList.add("bd-cropping");
    crop.shape = 0;
    crop.open(picture.width, picture.height);
    shape.focus();
  }

  function stopCrop() {
    crop.close();
    clearTimeout(asked);
    cropTools.hidden = true;
    tools.hidden = false;
    stage.classList.remove("bd-cropping");
    if (picture) showSeen();
  }

  let asked;
  function showBox({ left, top, right, bottom }) {
    Object.assign(numbers.left, { value: left, max: picture.width });
    Object.assign(numbers.top, { value: top, max: picture.height });
    Object.assign(numbers.width, { value: right - left, max: picture.width });
    Object.assign(numbers.height, { value: bottom - top, max: picture.height });
    clearTimeout(asked);
    asked = setTimeout(async () => {
      try {
        const { answer } = await kernel.ask("fit", { width: right - left, height: bottom - top });
        if (cropTools.hidden) return;
        told.textContent = `${right - left} x ${bottom - top} goes to bucket ${answer.bucket.join(" x ")}; ${Math.round(100 * answer.lost)} % more is cut off there.`;
      } catch (error) {
        told.textContent = error.message;
      }
    }, 150);
  }

  function takeNumbers() {
    const [left, top, width, height] = ["left", "top", "width", "height"].map((key) => Number(numbers[key].value));
    crop.shape = 0;
    shape.value = "0";
    crop.set({ left, top, right: left + width, bottom: top + height });
  }

  function finishCrop() {
    const { left, top, right, bottom } = crop.box;
    edit("crop", { picture: picture.name, box: [left, top, right, bottom] });
  }

  function close() {
    panel.hidden = true;
    onclose(picture);
  }

  return { panel, open, close, focus: () => title.focus({ preventScroll: true }), get picture() { return panel.hidden ? undefined : picture; }, cleanUp: () => URL.revokeObjectURL(url) };
}
