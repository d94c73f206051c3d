// Makes one element like another, in place: what is the same stays, so focus, selection and scroll do too.
export function morph(old, now) {
  syncAttributes(old, now);
  const before = [...old.childNodes];
  const after = [...now.childNodes];
  after.forEach((next, index) => {
    const here = before[index];
    if (!here) {
      old.append(document.importNode(next, true));
    } else if (here.nodeType !== next.nodeType || here.nodeName !== next.nodeName) {
      here.replaceWith(document.importNode(next, true));
    } else if (here.nodeType === Node.TEXT_NODE) {
      if (here.data !== next.data) here.data = next.data;
    } else if (here.nodeType === Node.ELEMENT_NODE) {
      morph(here, next);
    }
  });
  before.slice(after.length).forEach((rest) => rest.remove());
}

function syncAttributes(old, now) {
  const keep = new Set(["data-piece", "data-state", "open", "class"]);
  if (!old.hasAttribute("data-piece")) {
    if (old.getAttribute("class") !== now.getAttribute("class")) {
      if (now.hasAttribute("class")) old.setAttribute("class", now.getAttribute("class"));
      else old.removeAttribute("class");
    }
  }
  for (const { name } of [...old.attributes]) {
    if (!keep.has(name) && !now.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...now.attributes]) {
    if (!keep.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
