// Tells the server the reader's zone, and lets the clock run.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const known = document.cookie.split("; ").find((part) => part.startsWith("mutt_zone="));
if (zone && known !== `mutt_zone=${zone}`) {
  document.cookie = `mutt_zone=${zone}; path=/; max-age=31536000; samesite=strict`;
}

const place = document.querySelector("[data-clock]");
if (place) {
  const offset = Date.parse(place.dateTime) - Date.now();
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const local = new Intl.DateTimeFormat("en-GB", time);
  const utc = new Intl.DateTimeFormat("en-GB", { ...time, timeZone: "UTC" });
  const beside = place.nextElementSibling;
  const tick = () => {
    const now = new Date(Date.now() + offset);
    place.firstElementChild.textContent = local.format(now);
    if (beside) beside.textContent = `(${utc.format(now)} UTC)`;
  };
  if (known === `mutt_zone=${zone}`) setInterval(tick, 1000);
}
