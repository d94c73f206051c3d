// Single keys: never in a field, and off where the reader said so.
const FIELDS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
const on = document.documentElement.dataset.keys !== "off";
let going = 0;

const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);

function move(step) {
  const all = rows();
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.max(0, Math.min(all.length - 1, at + step))];
  if (!next) return;
  const target = next.matches("a, button") ? next : next.querySelector("a, button") ?? next;
  if (target === next && !next.hasAttribute("tabindex")) next.tabIndex = -1;
  target.focus();
  next.scrollIntoView({ block: "nearest" });
}

const current = () => rows().find((row) => row.contains(document.activeElement));

function select(shiftKey) {
  const box = current()?.querySelector("input[type=checkbox]");
  box?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey }));
}

// In a row its own, elsewhere the page's: a field takes the focus, a link or a button is pressed.
function edit() {
  const target = current()?.querySelector("[data-key-edit]") ?? document.querySelector("[data-key-edit]:not([data-row] *)");
  target?.focus();
  if (target?.matches("a, button")) target.click();
}

const SINGLE = {
  "/": () => document.getElementById("search")?.select(),
  "?": () => location.assign("/help#keys"),
  g: () => { going = Date.now(); },
  j: () => move(1),
  k: () => move(-1),
  x: () => select(false),
  X: () => select(true),
  e: edit,
  p: () => document.querySelector("[data-key-pause]")?.click(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) return press(event, "[data-key-run]");
  if (event.key?.toLowerCase() === "s" && event.ctrlKey) return press(event, "[data-key-save]");
  if (event.key === "Escape" && event.target.matches?.(FIELDS)) return event.target.blur();
  if (!on || event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.(FIELDS)) return undefined;
  if (Date.now() - going < 1500) {
    going = 0;
    const target = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (target) {
      event.preventDefault();
      location.assign(target.href);
      return undefined;
    }
  }
  const act = SINGLE[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
  return undefined;
});

function press(event, selector) {
  const button = document.querySelector(selector);
  if (!button) return;
  event.preventDefault();
  button.click();
}
