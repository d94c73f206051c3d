// The rule editor while one types: checks, the dry run beside the form, what is not saved.
import { call } from "./api.js";

const CHECK_AFTER = 300;
const RUN_AFTER = 600;
const POLL = 1000;
const form = document.querySelector("#dry-edit");
const report = document.querySelector("[data-report]");
const rule = Number(form.dataset.rule) || null;
const fields = ["name", "description", "match_string", "trap_oid", "syslog_severity", "match_type", "priority",
  "prod_handling", "dev_handling", "team_assignment", "is_active"];
const first = snapshot();
const formerWords = Object.fromEntries(fields.map((name) => [name, wordsOf(name)]));
let checking = 0;
let running = 0;
let polling = 0;
let turn = 0;
let starts = 0;
let run = form.elements.run.value || null;
let leaving = false;

// Among the form's elements is the button of a warning too, which bears the name of the priority: only its own count.
function valueOf(name) {
  return (form.querySelector(`[name="${name}"]:checked`) ?? form.querySelector(`[name="${name}"]`)).value;
}

function snapshot() {
  return Object.fromEntries(fields.map((name) => [name, valueOf(name)]));
}

function typed() {
  const text = snapshot();
  const number = (value) => (/^-?\d{1,12}$/.test(value.trim()) ? Number(value) : value.trim() || null);
  return {
    ...Object.fromEntries(Object.entries(text).map(([name, value]) => [name, value.trim() ? value : null])),
    match_string: text.match_string.replace(/[\r\n]/g, "") || null,
    syslog_severity: number(text.syslog_severity),
    priority: number(text.priority),
    is_active: text.is_active === "true",
    ...(text.trap_oid.trim() ? { trap_oid: text.trap_oid.trim() } : {}),
  };
}

function changedCount() {
  const now = snapshot();
  return fields.filter((name) => now[name] !== first[name]).length;
}

function showUnsaved() {
  const place = document.querySelector("[data-unsaved]");
  const count = changedCount();
  const state = document.querySelector("#unsaved-state").content.cloneNode(true);
  state.querySelector(".state > span").textContent = `not saved: ${count} ${count === 1 ? "field" : "fields"} changed`;
  place.replaceChildren(...(count ? state.children : []));
  if (rule) showFormer();
}

// What the server says of a field that was changed before this page came stands.
function showFormer() {
  const now = snapshot();
  for (const name of fields) {
    const label = form.querySelector(`label[for="f-${name}"]`) ?? form.querySelector("legend");
    const former = label.querySelector(".was");
    if (now[name] === first[name]) {
      if (former && "typed" in former.dataset) former.remove();
    } else if (!former) {
      const words = document.createElement("span");
      words.className = "was";
      words.dataset.typed = "";
      words.textContent = `was ${formerWords[name]}`;
      label.append(" ", words);
    }
  }
}

function wordsOf(name) {
  if (name === "description") return "other";
  return form.querySelector(`select[name="${name}"]`)?.selectedOptions[0].text ?? (valueOf(name) || "none");
}

async function check() {
  const mine = ++turn;
  const { status, body } = await call("POST", "/api/v2/rules/validate", { ...typed(), ...(rule ? { id: rule } : {}) });
  if (mine !== turn || status !== 200) return false;
  for (const name of fields) showHint(name, body.hints[name]?.problem ?? body.details[name] ?? "");
  const remedy = form.querySelector("[data-remedy]");
  remedy.replaceChildren(...coded(body.hints.match_string?.remedy ?? ""));
  remedy.hidden = !remedy.textContent;
  showNeighbours(body.neighbours);
  return body.valid;
}

// What stands between backticks is code.
function coded(text) {
  return text.split("`").map((part, at) => {
    if (at % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

function showHint(name, problem) {
  const place = form.querySelector(`[data-hint="${name}"]`);
  if (!place) return;
  const field = form.querySelector(`#f-${name}`);
  const span = document.createElement("span");
  span.className = problem ? "error" : "";
  span.textContent = problem || (name === "match_string" && typed().match_type === "regex" && typed().match_string
    ? "Runs in linear time, whatever the input." : "");
  place.replaceChildren(...(span.textContent ? [span] : []));
  place.closest(".field").classList.toggle("bad", Boolean(problem));
  if (problem) field?.setAttribute("aria-invalid", "true");
  else field?.removeAttribute("aria-invalid");
}

function showNeighbours({ above, below }) {
  const words = (side, near, none) => (near ? `${side} ${near.id} ${near.name ?? ""} (${near.priority})` : none);
  const place = form.querySelector("[data-neighbours]");
  place.replaceChildren(words("below", above, "tried first"), document.createElement("br"),
    words("above", below, "tried last"));
}

async function start() {
  clearTimeout(running);
  const mine = ++starts;
  if (!(await check())) return;
  const hours = Number(form.elements.hours.value) || 24;
  const asked = { rule: typed(), hours, ...(rule ? { id: rule } : {}), ...(run ? { replaces: run } : {}) };
  const { status, body } = await call("POST", "/api/v2/rules/dry-run", asked);
  if (mine !== starts) {
    // What was typed since has a run of its own, or soon will.
    if (status === 202) call("DELETE", `/api/v2/rules/dry-run/${body.id}`);
    return;
  }
  if (status !== 202) return tell(body.error ?? "the web UI did not answer");
  run = body.id;
  form.elements.run.value = run;
  poll(run);
}

async function poll(wanted) {
  clearTimeout(polling);
  if (wanted !== run) return;
  let next = POLL;
  if (!document.hidden) {
    try {
      const reply = await fetch(`/rules/dry-run/${wanted}?part=report`, { headers: { Accept: "text/html" } });
      if (wanted !== run || reply.status === 404 || reply.redirected) return;
      if (!reply.ok) throw new Error(String(reply.status));
      if (show(await reply.text()) !== "running") return;
    } catch { next = 5000; }
  }
  polling = setTimeout(poll, next, wanted);
}

function tell(problem) {
  const note = document.createElement("p");
  note.className = "soft";
  note.setAttribute("role", "alert");
  note.textContent = `The dry run did not start: ${problem}.`;
  report.replaceChildren(note);
}

// The report is a page's part that the server wrote and escaped; it is parsed, never run.
function show(text) {
  const part = new DOMParser().parseFromString(text, "text/html").querySelector("#report");
  if (!part) return "gone";
  const open = [...report.querySelectorAll("details")].map((each) => each.open);
  const focus = report.contains(document.activeElement) && document.activeElement.dataset;
  report.replaceChildren(document.adoptNode(part));
  report.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? false; });
  if (focus && "stop" in focus) report.querySelector("[data-stop]")?.focus();
  return part.dataset.state;
}

async function stop() {
  clearTimeout(polling);
  await call("DELETE", `/api/v2/rules/dry-run/${run}`);
  poll(run);
}

function changed() {
  clearTimeout(checking);
  clearTimeout(running);
  checking = setTimeout(check, CHECK_AFTER);
  running = setTimeout(start, RUN_AFTER);
  showUnsaved();
}

form.addEventListener("input", (event) => { if (event.target.name !== "reason") changed(); });
form.addEventListener("submit", () => { leaving = true; });
document.querySelector("[data-key-run]")?.addEventListener("click", (event) => { event.preventDefault(); start(); });
document.querySelector("[data-discard]")?.addEventListener("click", () => { leaving = true; });
report.addEventListener("click", (event) => {
  const button = event.target.closest("[data-stop], [data-set-priority]");
  if (!button) return;
  event.preventDefault();
  if ("stop" in button.dataset) stop();
  else {
    const priority = form.querySelector("#f-priority");
    priority.value = button.dataset.setPriority;
    priority.focus();
    changed();
  }
});
addEventListener("beforeunload", (event) => { if (!leaving && changedCount()) event.preventDefault(); });
document.querySelector("[data-checks]")?.setAttribute("data-on", "");
if (report.querySelector('[data-state="running"]')) poll(run);
else if ("autorun" in form.dataset) start();
