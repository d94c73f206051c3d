// Keeps the dashboard live: two pieces, replaced in place; the state goes into the tab's title and is announced once.
import { morph } from "./morph.js";
import { poll } from "./poll.js";
import "./chart.js";
import { copying } from "./copy.js";

const [first, second] = document.querySelectorAll("[data-piece]");
const place = document.querySelector("[data-live]");
const pause = document.querySelector("[data-key-pause]");
let state = first.dataset.state;
let seen = Date.now();

const ready = new WeakSet();

function offerCopies() {
  for (const button of document.querySelectorAll("[data-copy-of]")) {
    button.hidden = !navigator.clipboard;
    if (!ready.has(button)) copying(button, () => document.getElementById(button.dataset.copyOf).textContent);
    ready.add(button);
  }
}

function say(kind, words) {
  const shape = document.querySelector(`.i-${kind}`)?.cloneNode(true);
  const text = document.createElement("span");
  text.textContent = words;
  const whole = document.createElement("span");
  whole.className = `state s-${kind}`;
  if (shape) {
    shape.setAttribute("width", "14");
    shape.setAttribute("height", "14");
    whole.append(shape, " ");
  }
  whole.append(text);
  place.replaceChildren(whole);
}

function show(target) {
  return (found) => {
    seen = Date.now();
    const page = new DOMParser().parseFromString(`<div>${found.html}</div>`, "text/html");
    morph(target, page.body.firstElementChild);
    offerCopies();
    document.title = document.title.replace(/^\w+/, found.word);
    if (found.state !== state) {
      state = found.state;
      document.querySelector("[data-announce]").textContent = `${found.word}: ${found.title}`;
    }
    if (found.live !== "Live") say("critical", `${found.live}, asking every 5 s`);
  };
}

function told({ live, failed, paused, signedOut, seconds }) {
  if (signedOut) say("waiting", "Signed out: reload to sign in");
  else if (paused) say("waiting", "Paused");
  else if (failed) say("warn", `No answer, asking every ${seconds} s`);
  else if (live && !place.textContent.includes("Redis")) say("ok", `Live, every ${seconds} s`);
  first.classList.toggle("stale", Date.now() - seen > 15000 && !paused);
}

const fast = poll(first.dataset.piece, 5, show(first), told);
const slow = poll(second.dataset.piece, 60, show(second));
const away = place.textContent.includes("Redis");
say(away ? "critical" : "ok", away ? `${place.textContent.trim()}, asking every 5 s` : "Live, every 5 s");
offerCopies();
pause.hidden = false;
pause.addEventListener("click", () => {
  const on = pause.textContent === "Pause";
  pause.textContent = on ? "Go on" : "Pause";
  fast.pause(on);
  slow.pause(on);
});
