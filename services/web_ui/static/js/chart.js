// A crosshair for charts, by mouse or arrow keys; it reads what it says from the chart's own table.
document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.("[data-chart]");
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
  point(chart, Math.floor(((x - left(chart)) / width(chart)) * rows(chart).length));
});

document.addEventListener("keydown", (event) => {
  const chart = event.target.closest?.("[data-chart]");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!chart || !step) return;
  event.preventDefault();
  point(chart, Number(chart.dataset.at ?? rows(chart).length) + step);
});

const left = (chart) => Number(chart.dataset.left);
const width = (chart) => Number(chart.dataset.width);

function rows(chart) {
  const tables = chart.closest("section").querySelectorAll("table");
  return tables[chart.classList.contains("minutes") ? 1 : 0].tBodies[0].rows;
}

function point(chart, index) {
  const all = rows(chart);
  const at = Math.max(0, Math.min(all.length - 1, index));
  chart.dataset.at = at;
  const x = left(chart) + ((at + 0.5) * width(chart)) / all.length;
  const cross = chart.querySelector("[data-cross]");
  cross.setAttribute("d", cross.getAttribute("d").replace(/^M[\d.]+/, `M${x.toFixed(1)}`));
  cross.setAttribute("visibility", "visible");
  const [local, utc, now, before] = [...all[at].cells].map((cell) => cell.textContent);
  const { unit = "a second", beside = "the day before" } = chart.dataset;
  const text = `${local} (${utc} UTC): ${now} ${unit}${before ? `, ${beside} ${before}` : ""}`;
  chart.closest("section").querySelector("[data-readout]").textContent = text;
}
