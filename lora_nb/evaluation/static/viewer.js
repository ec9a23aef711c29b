// A grid of pictures to look at closely: the same in a notebook (widgets/grid.py) and in a saved page (grid_page.py).
// It uses `element`, which the file that is put in front of this one brings.

const ROW_LABEL = 84; // px that the labels of the rows take
const SMALLEST_CELL = 84; // px: below this, the grid scrolls sideways
const LARGEST_CELL = 260;
const LENS = 360; // px: the enlarged picture beside the pointer
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="; // until a picture comes
const KEYS = "Arrow keys: move. Enter: full size. C: compare two. Page up, page down: prompts. Esc: close.";

/**
 * Show a grid, as evaluation/describing.py describes it. `loadPicture(number, full)` resolves with the address of a
 * picture; `tools` are further buttons for the bar above the grid; no cell is wider than `largest` pixels. Returns the
 * viewer, which can be given a grid that has grown, `update(view)`, and closed.
 */
export function showGrid(place, view, { loadPicture, tools = [], heading = "h3", largest = LARGEST_CELL }) {
  const viewer = new GridViewer(view, loadPicture, largest);
  place.append(
    element(heading, { class: "ln-grid-title" }, view.title),
    element("p", { class: "ln-quiet ln-grid-facts", hidden: !view.facts }, view.facts),
    viewer.bar(tools),
    viewer.stage,
    viewer.detail,
    viewer.lens,
    viewer.note,
  );
  place.classList.add("ln-grid");
  viewer.open(place);
  return viewer;
}

class GridViewer {
  constructor(view, loadPicture, largest) {
    Object.assign(this, { loadPicture, largest });
    this.take(view);
    this.only = { block: null, row: null }; // what the bar above restricts the grid to
    this.here = { block: 0, row: 0, column: 0 };
    this.marked = null; // the first of two to compare
    this.stage = element("div", { class: "ln-grid-scroll" });
    this.detail = element("div", { class: "ln-grid-detail", hidden: true });
    this.lens = element("div", { class: "ln-grid-lens", "aria-hidden": "true", hidden: true });
    this.note = element("div", { class: "ln-unseen", role: "status", "aria-live": "polite" });
    this.dismiss = (event) => event.key === "Escape" && this.hideLens();
  }

  open(place) {
    this.place = place;
    this.lazy = new IntersectionObserver((seen) => seen.forEach((each) => each.isIntersecting && this.fill(each.target)), {
      rootMargin: "300px",
    });
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(place);
    document.addEventListener("keydown", this.dismiss, true);
    this.draw();
  }

  close() {
    this.lazy.disconnect();
    this.sizes.disconnect();
    document.removeEventListener("keydown", this.dismiss, true);
  }

  take(view) {
    this.view = view;
    this.counts = { block: view.cells.length, row: view.cells[0].length, column: view.cells[0][0].length };
  }

  /** Show a grid that has more columns or pictures than before; who looks at a picture goes on looking. */
  update(view) {
    const focused = this.stage.contains(document.activeElement);
    const atEnd = this.stage.scrollLeft + this.stage.clientWidth >= this.stage.scrollWidth - 8;
    this.take(view);
    this.draw();
    if (focused) this.at(this.here).focus({ preventScroll: true });
    if (atEnd) this.stage.scrollLeft = this.stage.scrollWidth; // the newest column
  }

  cell({ block, row, column }) {
    return this.view.cells[block][row][column];
  }

  shared({ block, column }) {
    return column === 0 && this.view.shared[block]; // the control, one picture for all rows
  }

  rowsOf() {
    return range(this.counts.row).filter((row) => this.only.row === null || row === this.only.row);
  }

  blocksOf() {
    return range(this.counts.block).filter((block) => this.only.block === null || block === this.only.block);
  }

  // ---- the bar above the grid

  bar(tools) {
    const { rows, blocks } = this.view.axes;
    const bar = element("div", { class: "ln-row ln-grid-bar" });
    if (this.counts.row > 1 && rows.title !== "prompt") bar.append(this.slider(rows));
    if (this.counts.block > 1) bar.append(this.filter(blocks));
    bar.append(...tools);
    bar.append(element("details", { class: "ln-grid-keys" }, element("summary", {}, "Keys"), element("p", {}, KEYS)));
    this.barElement = bar;
    return bar;
  }

  slider(axis) {
    const shown = element("output", {}, "all");
    const input = element("input", { type: "range", min: "0", max: String(this.counts.row), step: "1", value: "0" });
    const change = () => {
      const row = Number(input.value) - 1;
      const text = row < 0 ? "all" : firstLine(axis.labels[row]);
      shown.textContent = text;
      input.setAttribute("aria-valuetext", text);
      this.only.row = row < 0 ? null : row;
      if (row >= 0) this.here.row = row;
      this.draw();
    };
    input.addEventListener("input", change);
    input.setAttribute("aria-valuetext", "all");
    return element("label", { class: "ln-grid-slider" }, capital(axis.title), input, shown);
  }

  filter(axis) {
    const select = element("select", {}, element("option", { value: "" }, "all"));
    axis.labels.forEach((label, at) => select.append(element("option", { value: String(at) }, firstLine(label))));
    select.addEventListener("change", () => {
      this.only.block = select.value === "" ? null : Number(select.value);
      if (this.only.block !== null) this.here.block = this.only.block;
      this.draw();
    });
    return element("label", { class: "ln-grid-filter" }, capital(axis.title), select);
  }

  // ---- the grid

  draw() {
    this.hideLens();
    this.lazy.disconnect();
    this.cells = new Map(); // "block row column" => td; a shared control's rows have one
    const table = element("table", { role: "grid", "aria-label": this.view.title });
    for (const block of this.blocksOf()) table.append(this.drawBlock(block));
    table.addEventListener("keydown", (event) => this.press(event));
    this.stage.replaceChildren(table);
    this.fit();
    this.at(this.here)?.setAttribute("tabindex", "0");
    for (const image of table.querySelectorAll("img")) this.lazy.observe(image);
  }

  drawBlock(block) {
    const { blocks, rows, columns } = this.view.axes;
    const body = element("tbody");
    if (blocks.labels[block])
      body.append(
        element("tr", { class: "ln-grid-block" },
          element("th", { scope: "rowgroup", colspan: String(this.counts.column + 1) }, element("span", {}, blocks.labels[block]))),
      );
    const head = element("tr", {}, element("td", { class: "ln-grid-corner" }));
    columns.labels.forEach((label, column) =>
      head.append(element("th", { scope: "col", class: this.controlClass(column) }, ...lines(label))));
    body.append(head);
    const shown = this.rowsOf();
    for (const row of shown) {
      const line = element("tr", {}, element("th", { scope: "row" }, ...lines(rows.labels[row])));
      for (const column of range(this.counts.column)) {
        const spot = { block, row, column };
        const repeated = this.shared(spot) && row !== shown[0];
        const td = repeated ? this.at({ ...spot, row: shown[0] }) : this.drawCell(spot, this.shared(spot) ? shown.length : 1);
        this.cells.set(key(spot), td);
        if (!repeated) line.append(td);
      }
      body.append(line);
    }
    return body;
  }

  drawCell(spot, height) {
    const cell = this.cell(spot);
    const td = element("td", { tabindex: "-1", rowspan: String(height), class: this.controlClass(spot.column) });
    td.append(cell.picture === null ? element("span", { class: "ln-quiet" }, `${cell.name}: not drawn`) : this.picture(cell));
    td.toggleAttribute("data-marked", this.marked !== null && key(this.marked) === key(spot));
    td.addEventListener("click", (event) => {
      this.go(this.shared(spot) ? { ...spot, row: this.here.row } : spot, false);
      if (event.shiftKey) this.compare();
      else this.openDetail([this.here]);
    });
    td.addEventListener("focus", () => td.matches(":focus-visible") && this.showLens(td, cell));
    td.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.showLens(td, cell));
    td.addEventListener("pointerleave", () => this.hideLens());
    td.addEventListener("blur", () => this.hideLens());
    return td;
  }

  picture(cell) {
    const [width, height] = this.view.pictures[cell.picture];
    const image = element("img", { alt: cell.name, src: BLANK, width: String(width), height: String(height), draggable: false });
    image.dataset.picture = cell.picture;
    image.style.height = `calc(var(--cell) * ${height / width})`; // also before it comes, whatever its alt text takes
    return image;
  }

  async fill(image) {
    this.lazy.unobserve(image);
    image.src = await this.loadPicture(Number(image.dataset.picture), false);
  }

  controlClass(column) {
    return this.view.control && column === 0 ? "ln-grid-control" : undefined;
  }

  fit() {
    const room = this.place.clientWidth - ROW_LABEL - 40;
    const cell = Math.min(this.largest, Math.max(SMALLEST_CELL, Math.floor(room / this.counts.column) - 8));
    this.stage.style.setProperty("--cell", `${cell}px`);
    this.cellWidth = cell;
  }

  at(spot) {
    return this.cells.get(key(spot));
  }

  go(spot, focus = true) {
    this.at(this.here)?.setAttribute("tabindex", "-1");
    this.here = { ...spot };
    const td = this.at(spot);
    td.setAttribute("tabindex", "0");
    if (focus) {
      td.focus();
      td.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  press(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const { here } = this;
    let target = null;
    if (moves[event.key]) target = this.step(here, ...moves[event.key]);
    else if (event.key === "Home") target = { ...(event.ctrlKey ? this.corner(0) : here), column: 0 };
    else if (event.key === "End") target = { ...(event.ctrlKey ? this.corner(-1) : here), column: this.counts.column - 1 };
    else if (event.key === "PageUp") target = { ...here, block: this.neighbour(this.blocksOf(), here.block, -1) };
    else if (event.key === "PageDown") target = { ...here, block: this.neighbour(this.blocksOf(), here.block, 1) };
    else if (event.key === "Enter" || event.key === " ") this.openDetail([here]);
    else if (event.key.toLowerCase() === "c" && !event.ctrlKey && !event.metaKey) this.compare();
    else if (event.key === "Escape" && this.marked) this.mark(null);
    else return;
    event.preventDefault();
    if (target) this.go(target);
  }

  /** The next place in a direction, over the end of a block into the next one; a shared control counts once. */
  step(from, down, right) {
    const column = Math.min(this.counts.column - 1, Math.max(0, from.column + right));
    if (right) return { ...from, column };
    const all = this.blocksOf().flatMap((block) => this.rowsOf().map((row) => ({ block, row, column })));
    let at = all.findIndex((each) => each.block === from.block && each.row === from.row);
    do at += down;
    while (all[at] && this.at(all[at]) === this.at(from));
    return all[at] ?? from;
  }

  corner(at) {
    return { block: this.blocksOf().at(at), row: this.rowsOf().at(at) };
  }

  neighbour(all, value, by) {
    return all[Math.min(all.length - 1, Math.max(0, all.indexOf(value) + by))];
  }

  // ---- the enlarged picture beside a cell

  async showLens(td, cell) {
    const roomy = this.place.clientWidth >= 480;
    if (cell.picture === null || !roomy) return;
    const [width, height] = this.view.pictures[cell.picture];
    const side = Math.min(LENS, this.place.clientWidth * 0.45);
    if (side < this.cellWidth * 1.3) return;
    this.wanted = cell;
    await new Promise((resolve) => setTimeout(resolve, 120)); // not while the pointer only passes
    if (this.wanted !== cell) return;
    const address = await this.loadPicture(cell.picture, true);
    if (this.wanted !== cell) return; // the pointer has moved on
    const scale = side / Math.max(width, height);
    const image = element("img", { src: address, alt: "", width: String(width * scale), height: String(height * scale) });
    this.lens.replaceChildren(image, element("div", {}, cell.name));
    this.lens.hidden = false;
    const [home, box] = [this.place.getBoundingClientRect(), td.getBoundingClientRect()];
    const wide = width * scale + 18;
    const right = box.right - home.left + 10;
    const left = right + wide < home.width ? right : Math.max(4, box.left - home.left - wide - 10);
    const lowest = Math.max(4, home.height - this.lens.offsetHeight - 4);
    const top = Math.min(lowest, Math.max(4, box.top - home.top + box.height / 2 - this.lens.offsetHeight / 2));
    Object.assign(this.lens.style, { left: `${left}px`, top: `${top}px` });
  }

  hideLens() {
    this.wanted = null;
    this.lens.hidden = true;
  }

  // ---- two pictures side by side

  mark(spot) {
    this.marked = spot;
    this.cells.forEach((td) => td.removeAttribute("data-marked"));
    if (spot) this.at(spot).setAttribute("data-marked", "");
    this.note.textContent = spot ? `${this.cell(spot).name} is marked. Press C on another picture to compare them.` : "";
  }

  compare() {
    if (!this.marked || key(this.marked) === key(this.here)) return this.mark(this.marked ? null : { ...this.here });
    const pair = [this.marked, { ...this.here }];
    this.mark(null);
    this.openDetail(pair);
  }

  // ---- full size

  openDetail(spots) {
    this.hideLens();
    this.spots = spots.map((spot) => ({ ...spot }));
    this.stage.hidden = this.barElement.hidden = true;
    this.detail.hidden = false;
    this.drawDetail(0);
    this.detail.scrollIntoView({ block: "nearest" });
  }

  closeDetail() {
    this.stage.hidden = this.barElement.hidden = false;
    this.detail.hidden = true;
    const spot = this.spots[0];
    const visible = this.at(spot) ? spot : { ...spot, row: this.rowsOf()[0], block: this.blocksOf()[0] };
    this.go(visible);
  }

  drawDetail(focus) {
    const two = this.spots.length > 1;
    const back = element("button", { onclick: () => this.closeDetail() }, "← Back to the grid");
    const compare = element("button", { onclick: () => this.toggleSecond(), "aria-pressed": String(two) }, "Compare two");
    this.stages = this.spots.map((spot, at) => this.drawStage(spot, at));
    this.detail.replaceChildren(
      element("div", { class: "ln-row" }, back, compare),
      element("div", { class: "ln-grid-stages" }, ...this.stages.map((stage) => stage.frame)),
    );
    this.detail.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      this.closeDetail();
    };
    if (focus !== null) this.stages[focus].picture.focus();
  }

  toggleSecond() {
    if (this.spots.length > 1) this.spots.pop();
    else {
      const { column, ...rest } = this.spots[0];
      this.spots.push({ ...rest, column: column > 0 ? column - 1 : Math.min(1, this.counts.column - 1) });
    }
    this.drawDetail(this.spots.length - 1);
  }

  drawStage(spot, at) {
    const picture = element("div", { class: "ln-grid-full", tabindex: "0", role: "group" });
    const name = element("div", { class: "ln-grid-name", role: "status", "aria-live": "polite" });
    const axes = element("div", { class: "ln-row" });
    const words = element("div", { class: "ln-grid-words" });
    const frame = element("section", { class: "ln-grid-stage", "aria-label": at ? "Second picture" : "Picture" },
      name, picture, element("div", { class: "ln-grid-side" }, axes, words));
    const move = (changes) => {
      Object.assign(spot, changes);
      refresh();
    };
    const selects = ["column", "row", "block"].filter((axis) => this.counts[axis] > 1).map((axis) => this.choice(axis, spot, move));
    axes.append(...selects.map((each) => each.label));
    picture.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: ["column", -1], ArrowRight: ["column", 1], ArrowUp: ["row", -1], ArrowDown: ["row", 1],
        PageUp: ["block", -1], PageDown: ["block", 1] };
      if (!moves[event.key]) return;
      event.preventDefault();
      const [axis, by] = moves[event.key];
      move({ [axis]: Math.min(this.counts[axis] - 1, Math.max(0, spot[axis] + by)) });
    });
    const refresh = () => {
      const cell = this.cell(spot);
      name.textContent = cell.name;
      picture.setAttribute("aria-label", `${cell.name}. Arrow keys show its neighbours.`);
      selects.forEach((each) => each.show(spot));
      this.fillFull(picture, cell);
      words.replaceChildren(...this.describe(cell));
    };
    refresh();
    return { frame, picture };
  }

  choice(axis, spot, move) {
    const { title, labels } = this.view.axes[`${axis}s`];
    const select = element("select", {});
    labels.forEach((label, value) => select.append(element("option", { value: String(value) }, firstLine(label))));
    select.addEventListener("change", () => move({ [axis]: Number(select.value) }));
    return { label: element("label", { class: "ln-grid-filter" }, capital(title), select), show: (now) => (select.value = String(now[axis])) };
  }

  async fillFull(picture, cell) {
    picture.wanted = cell;
    if (cell.picture === null) return picture.replaceChildren(element("p", { class: "ln-quiet" }, "This picture is not drawn yet."));
    const [width, height] = this.view.pictures[cell.picture];
    const address = await this.loadPicture(cell.picture, true);
    if (picture.wanted !== cell) return;
    const image = element("img", { src: address, alt: cell.name });
    const scale = Math.max(1, Math.floor(512 / Math.max(width, height))); // small pictures by a whole factor
    image.style.width = `${width * scale}px`;
    image.style.aspectRatio = `${width} / ${height}`;
    picture.replaceChildren(image);
  }

  describe(cell) {
    const prompt = element("textarea", { readonly: true, rows: "2", "aria-label": "Prompt" });
    prompt.value = cell.prompt;
    const rows = Object.entries(cell.parameters).map(([name, value]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
    return [
      prompt,
      element("div", { class: "ln-row" },
        element("button", { onclick: () => this.copy(cell.prompt, "prompt") }, "Copy prompt"),
        rows.length ? element("button", { onclick: () => this.copy(cell.text, "parameters") }, "Copy all parameters") : null),
      ...(rows.length ? [element("details", {}, element("summary", {}, "All parameters"), element("table", { class: "ln-grid-facts-table" }, ...rows))] : []),
    ];
  }

  async copy(text, what) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copyOldWay(text, this.detail); // Colab's frames have no clipboard
    }
    this.note.classList.remove("ln-unseen");
    this.note.textContent = done ? `The ${what} is copied.`.replace("parameters is", "parameters are") : "This page may not copy. Select the text and copy it.";
    clearTimeout(this.fade);
    this.fade = setTimeout(() => {
      this.note.textContent = "";
      this.note.classList.add("ln-unseen");
    }, 4000);
  }
}

function copyOldWay(text, place) {
  const field = element("textarea", { class: "ln-unseen" });
  const focused = document.activeElement;
  field.value = text;
  place.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}


function range(count) {
  return Array.from({ length: count }, (_, at) => at);
}

function key({ block, row, column }) {
  return `${block} ${row} ${column}`;
}

function firstLine(label) {
  return label.split("\n")[0];
}

function lines(label) {
  return label.split("\n").map((line, at) => element("span", { class: at ? "ln-quiet" : undefined }, line));
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
