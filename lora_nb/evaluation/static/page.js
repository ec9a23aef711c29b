// What a saved page has in front of viewer.js: in a notebook, widgets/static/shared.js has the same.

/** Make an element: element("button", {class: "primary", onclick: undo}, "Undo"). Text stays text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The page's plain tables become the viewer; their pictures are its pictures. */
function startPage() {
  const place = document.getElementById("grid");
  const view = JSON.parse(document.getElementById("view").textContent);
  const sources = new Map();
  for (const image of place.querySelectorAll("img[data-picture]")) sources.set(Number(image.dataset.picture), image.src);
  place.replaceChildren();
  showGrid(place, view, { loadPicture: async (number) => sources.get(number), heading: "h1" });
}
