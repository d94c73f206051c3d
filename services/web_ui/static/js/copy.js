// Buttons that copy what an element shows, or what they carry themselves; hidden where nothing can be copied.
export function copying(button, text) {
  if (!navigator.clipboard) return;
  const words = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 2000);
  });
}
