// Every page works without this. It copies commands, brings the asset of a picture into view, filters
// as one types, hashes a dropped file through the dashboard, and brings in what was published since.
"use strict";

const POLL = 3000;
const SCROLLS = ".scroll, .picture";
const notice = document.getElementById("notice");

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

// A part of the page is replaced by the same part of a newer page; what is ticked, opened, scrolled
// and focused stays so.
async function refresh(address, ids) {
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (!answer.ok) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    if (ids && !ids.includes(part.id)) continue;
    const newer = page.getElementById(part.id);
    if (!newer || newer.innerHTML === part.innerHTML) continue;
    const ticked = new Set([...part.querySelectorAll("input:checked")].map((i) => i.name + i.value));
    const open = [...part.querySelectorAll("details")].map((d) => d.open);
    const scrolled = [...part.querySelectorAll(SCROLLS)].map((s) => [s.scrollLeft, s.scrollTop]);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const same = focused && (focused.id ? "#" + CSS.escape(focused.id)
      : focused.getAttribute("href") ? `[href="${CSS.escape(focused.getAttribute("href"))}"]`
      : focused.value ? `[value="${CSS.escape(focused.value)}"]` : null);
    const kept = document.importNode(newer, true);
    part.replaceWith(kept);
    for (const input of kept.querySelectorAll("input[type=checkbox]"))
      if (ticked.has(input.name + input.value)) input.checked = true;
    const now = kept.querySelectorAll("details");
    if (now.length === open.length) now.forEach((d, at) => { d.open = open[at]; });
    const places = kept.querySelectorAll(SCROLLS);
    if (places.length === scrolled.length) places.forEach((s, at) => s.scrollTo(...scrolled[at]));
    if (same) kept.querySelector(same)?.focus({ preventScroll: true });
    prepare(kept);
  }
  if (page.body.dataset.entry) document.body.dataset.entry = page.body.dataset.entry;
  return true;
}

// A lineage may be wider than the page: the asset that it is of is what one came for.
for (const picture of document.querySelectorAll(".picture")) {
  const box = picture.querySelector(".ama-root")?.getBoundingClientRect();
  if (!box) continue;
  const view = picture.getBoundingClientRect();
  picture.scrollBy((box.left + box.right - view.left - view.right) / 2, (box.top + box.bottom - view.top - view.bottom) / 2);
}

function prepare(root) {
  for (const button of root.querySelectorAll(".copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
}

// Filters as one types: the address follows, so that it can be sent to somebody.
for (const form of document.querySelectorAll("[data-live-form]")) {
  let waiting = 0, latest = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const mine = ++latest;
      const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
      history.replaceState(null, "", address);
      try { if (mine === latest) await refresh(address, [form.dataset.liveForm]); } catch { /* polled */ }
    }, 200);
  });
}

const drop = document.getElementById("drop");
if (drop) {
  drop.hidden = false;
  const said = document.getElementById("drop-said");
  const find = async (file) => {
    said.textContent = `Hashing ${file.name} …`;
    try {
      const answer = await fetch(drop.dataset.hash, { method: "POST", body: file });
      if (!answer.ok) throw new Error(String(answer.status));
      const { hash } = await answer.json();
      location.assign(`${drop.dataset.search}?${new URLSearchParams({ hash, file: file.name })}`);
    } catch {
      said.textContent = `${file.name} could not be hashed: is it a directory, or is the dashboard gone?`;
    }
  };
  document.getElementById("drop-file").addEventListener("change", (event) => {
    if (event.target.files[0]) find(event.target.files[0]);
  });
  // Dropped beside it, a file would replace the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  document.addEventListener("dragover", () => drop.classList.add("over"));
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) find(file);
  });
}

// What is new: the number of the log's last entry is asked for, and the page only if it moved on.
const away = document.querySelector("[data-away]");
async function poll() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/changes", { headers: { accept: "application/json" } });
      if (answer.ok) {
        const { number } = await answer.json();
        if (away) { location.reload(); return; }
        if (String(number) !== document.body.dataset.entry) await refresh(location.href);
        say("");
      } else if (answer.status === 401) {
        say("The dashboard was started again, with a new token: open the address that it has printed now.");
      } else if (!away) {
        say("The store can't be reached. This is what was seen last; the page comes back by itself.");
      }
    } catch {
      say("The dashboard isn't running any more. This is what was seen last.");
    }
  }
  setTimeout(poll, POLL);
}
if (document.body.dataset.entry || away) setTimeout(poll, POLL);
prepare(document);
