// Makes and updates elements. The server's texts go in as text only, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function attribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Gives `parent` one child for each item, made by `make` and updated by `fill`. Children are reused, so that neither a
// selection nor a screen reader loses its place.
function each(parent, items, make, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  items.forEach((item, place) => {
    if (!parent.children[place]) parent.append(make(item));
    fill(parent.children[place], item, place);
  });
}

function table(head, body, columns, rows) {
  if (!head.children.length)
    for (const column of columns)
      head.append(element("th", { scope: "col", role: "columnheader", class: column.number ? "number" : "" }, column.label));
  const row = () => element("tr", { role: "row" }, ...columns.map((column, place) => place === 0
    ? element("th", { scope: "row", role: "rowheader" })
    : element("td", { role: "cell", "data-label": column.label, class: column.number ? "number" : "" })));
  each(body, rows, row, (made, item) => columns.forEach((column, place) => {
    const cell = made.children[place];
    if (column.fill) column.fill(cell, item);
    else set(cell, column.text(item));
  }));
}

// A text and, below it, an explanation.
function explained(cell, text, why) {
  if (!cell.children.length) cell.append(element("span"), element("span", { class: "why" }));
  set(cell.children[0], text);
  set(cell.children[1], why);
}

const MARKS = { good: "●", calm: "○", warn: "▲", bad: "✕" };

function pill(node, level, text) {
  attribute(node, "class", `pill ${level}`);
  if (!node.children.length) node.append(element("span", { "aria-hidden": "true" }), element("span"));
  set(node.children[0], MARKS[level]);
  set(node.children[1], text);
}
