// While a dead letter is edited: what differs from what died, and whether it would be taken. The list counts what is selected.
import { call } from "./api.js";

const editor = document.querySelector("[data-dead-editor]");
const payload = editor?.querySelector("textarea");
const told = editor?.querySelector("[data-dead-check]");
let timer = 0;
let asking = new AbortController();

payload?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(check, 600);
});

async function check() {
  asking.abort();
  asking = new AbortController();
  const typed = () => new URLSearchParams(new FormData(editor));
  const reply = await call("POST", "/dead-letters/check", typed, asking.signal).catch(() => null);
  if (reply?.status !== 200) return;
  const page = new DOMParser().parseFromString(reply.body, "text/html");
  const parts = [...page.body.children].map((each) => document.importNode(each, true));
  told.replaceChildren(...parts);
  editor.querySelector("[data-differs]").textContent = page.body.dataset.differs;
  if (told.querySelector("#dead-faults")) {
    payload.setAttribute("aria-invalid", "true");
    payload.setAttribute("aria-describedby", "dead-faults");
  } else {
    payload.removeAttribute("aria-invalid");
    payload.removeAttribute("aria-describedby");
  }
}

const selection = document.querySelector("[data-selection]");
const count = selection?.querySelector("[data-selected]");
let last = null;

function recount() {
  const chosen = selection.querySelectorAll('input[name="letter"]:checked').length;
  const all = selection.querySelector('input[name="all"]').checked;
  count.textContent = all ? "All selected" : `${chosen} selected`;
}

if (count) {
  selection.addEventListener("change", recount);
  selection.addEventListener("click", (event) => {
    if (event.target.name !== "letter") return;
    const boxes = [...selection.querySelectorAll('input[name="letter"]')];
    if (event.shiftKey && last) {
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(event.target)].sort((a, b) => a - b);
      boxes.slice(from, to + 1).forEach((box) => { box.checked = event.target.checked; });
    }
    last = event.target;
    recount();
  });
  recount();
}
