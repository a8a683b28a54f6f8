// Searches the index of an exported site. All that it shows is text.
"use strict";

const MOST = 50;
const found = document.getElementById("found");
const input = document.getElementById("q");
const lower = INDEX.said.map((text) => text.toLowerCase());

function element(name, content, more) {
  const made = Object.assign(document.createElement(name), more);
  made.append(...[content].flat());
  return made;
}

function told([name, number, aliases, author, , message, , id]) {
  return [`${INDEX.classes[name][0]}/${number}`, aliases.join(" "), INDEX.authors[author], message, id]
    .join("\n").toLowerCase();
}

// Each word is in what is told of the asset, or in something that it says, which is shown then.
function matches(words, saying, asset) {
  const text = told(asset), said = new Set();
  for (const [at, word] of words.entries()) {
    if (text.includes(word)) continue;
    const where = asset[8].find((each) => saying[at].has(each));
    if (where === undefined) return null;
    said.add(where);
  }
  return [...said];
}

function row(asset, said) {
  const [at, number, aliases, author, created, message, state] = asset;
  const [name, directory] = INDEX.classes[at];
  const link = element("a", `${name}/${number}`, { href: `../assets/${directory}/${number}/index.html` });
  const head = element("th", [link, " "], { scope: "row" });
  if (state) head.append(element("span", state, { className: `state ${state}` }));
  return element("tr", [head, element("td", aliases.join(", ")),
    element("td", [message, ...said.map((each) => element("code", INDEX.said[each], { className: "said" }))],
      { className: "message" }),
    element("td", INDEX.authors[author].replace(/<.*/, "")), element("td", created, { className: "when" })]);
}

function table(rows) {
  const heads = ["Asset", "Aliases", "Message", "Created By", "Created At"];
  const head = element("tr", heads.map((each) => element("th", each, { scope: "col" })));
  const region = element("div", element("table", [element("thead", head), element("tbody", rows)], { className: "list" }),
    { className: "scroll", tabIndex: 0 });
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", "Table of assets");
  return region;
}

function files(digits) {
  const wanted = digits.toLowerCase().slice(0, INDEX.digits), links = [];
  for (let at = 0; at < INDEX.files.length && links.length < MOST; at += INDEX.digits) {
    const file = INDEX.files.slice(at, at + INDEX.digits);
    if (file.startsWith(wanted))
      links.push(element("li", element("a", `${file}…`, { href: `../files/${file.slice(0, 2)}/${file}.html` })));
  }
  return links.length ? [element("h2", "Files with this hash"), element("ul", links, { className: "plain" })] : [];
}

function search(text) {
  const words = (text.toLowerCase().match(/"[^"]+"|\S+/g) ?? []).map((each) => each.replaceAll('"', "")).filter(Boolean);
  if (!words.length) return [];
  const saying = words.map((word) => {
    const all = new Set();
    lower.forEach((each, at) => { if (each.includes(word)) all.add(at); });
    return all;
  });
  const rows = [];
  for (const asset of INDEX.assets) {
    const said = matches(words, saying, asset);
    if (said && rows.push(row(asset, said)) >= MOST) break;
  }
  const parts = /^[0-9a-f]{7,64}$/i.test(text.trim()) ? files(text.trim()) : [];
  if (rows.length) parts.push(element("h2", "Assets"), table(rows));
  if (rows.length >= MOST) parts.push(element("p", `The newest ${MOST}; there may be more. More words find less.`, { className: "muted" }));
  return parts.length ? parts : [element("p", "Nothing in this copy has all these words.")];
}

let waiting = 0;
input.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => found.replaceChildren(...search(input.value)), 200);
});
input.value = new URLSearchParams(location.search).get("q") ?? "";
found.replaceChildren(...search(input.value));
