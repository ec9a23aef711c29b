// What the settings mean: a few lines that follow every change. The kernel computes; this page asks once a second.
import { element, renderWith } from "./shared.js";

const OFTEN = 1000; // ms between two questions
const SELDOM = 5000; // when nobody looks

function build(root, kernel, status) {
  const lines = element("ul", { class: "outlook-lines" });
  const spoken = element("div", { role: "status", "aria-live": "polite" }, lines);
  const measure = element("button", { onclick: () => ask("measure") }, "Measure the time");
  let timer;
  let closed = false;
  let seen = true;
  let shown = "";
  const eyes = new IntersectionObserver(([entry]) => (seen = entry.isIntersecting));
  eyes.observe(root);
  root.classList.add("outlook");
  root.prepend(spoken, element("div", { class: "ln-row" }, measure));

  function show({ lines: found, wait }) {
    spoken.setAttribute("aria-busy", String(wait));
    const text = JSON.stringify(found);
    if (text === shown) return; // else screen readers would read it again
    shown = text;
    lines.replaceChildren(...found.map(([words, isGood]) =>
      element("li", { "data-kind": words.endsWith("…") ? "wait" : isGood ? "good" : "bad" }, words)));
  }

  async function ask(what = "news") {
    clearTimeout(timer);
    try {
      show((await kernel.ask(what)).answer);
      status.say("");
    } catch (error) {
      status.say(error.message, "bad");
    }
    if (!closed) timer = setTimeout(ask, document.hidden || !seen ? SELDOM : OFTEN);
  }

  ask();
  return () => {
    closed = true;
    clearTimeout(timer);
    eyes.disconnect();
  };
}

export default { render: renderWith("Outlook", build) };
