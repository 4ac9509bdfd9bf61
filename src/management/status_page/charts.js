// The charts of the last ten minutes.
"use strict";

// How many intervals a chart has room for: ten minutes of five seconds each.
const SLOTS = 120;

const percentiles = (name) => (status) => [
  { label: "median", values: status.history.intervals[name].p50 },
  { label: "p95", values: status.history.intervals[name].p95 },
  { label: "p99", values: status.history.intervals[name].p99 },
];
const rates = (intervals, outcomes) => intervals.ends.map((_, place) =>
  outcomes.reduce((sum, outcome) => sum + intervals.requests[outcome][place], 0) / intervals.interval_seconds);

const CHARTS = [
  { title: "Works a second", format: perSecond, area: true, series: ({ history: { intervals } }) => [
    { label: "answered", values: rates(intervals, ["ok"]) },
    { label: "refused", values: rates(intervals, REFUSED) },
    { label: "cancelled", values: rates(intervals, ["cancelled"]) },
  ] },
  { title: "Queue", format: count, area: true, series: ({ history: { intervals } }) => [
    { label: "waiting", values: intervals.waiting },
    { label: "running", values: intervals.running },
  ] },
  { title: "Hashes a second", format: hashRate, series: ({ devices, history: { intervals } }) =>
    devices.map((device, place) => ({ label: device.name, values: intervals.hash_rates[place] ?? [] })) },
  { title: "Waiting for a device", format: seconds, decades: true, series: percentiles("wait") },
  { title: "Searching", format: seconds, decades: true, series: percentiles("solve") },
  { title: "Whole request", format: seconds, decades: true, series: percentiles("total") },
];

// The next round number that is at least `value`.
function ceiling(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((step) => step >= value * 0.9999);
}

// The line through `values`, the latest at the right edge. A missing value is a gap, and a value between gaps is a dot.
function path(values, scale) {
  const x = (place) => (place + SLOTS - values.length + 1) * 1000 / SLOTS;
  const y = (value) => 100 - 100 * scale.part(value);
  let line = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const begins = place === 0 || values[place - 1] === null;
    const ends = place === values.length - 1 || values[place + 1] === null;
    line += `${begins ? "M" : "L"}${x(place).toFixed(1)} ${y(value).toFixed(2)}`;
    if (begins && ends) line += "h.1";
  });
  return line;
}

// A linear scale from zero to a round number.
function even(known) {
  const highest = Math.max(0, ...known);
  const top = highest > 0 ? ceiling(1.04 * highest) : 1;
  return { top: highest > 0 ? top : null, bottom: null, part: (value) => value / top, steps: 2 };
}

// A logarithmic scale between powers of ten, at least two decades: on a linear scale, the slowest times would hide all
// others.
function decades(known) {
  const above = known.filter((value) => value > 0);
  if (!above.length) return even(known);
  const top = Math.ceil(Math.log10(Math.max(...above)) - 1e-9);
  const bottom = Math.max(-4, Math.min(top - 2, Math.floor(Math.log10(Math.min(...above)) + 1e-9)));
  const part = (value) => Math.min(1, Math.max(0, (Math.log10(Math.max(value, 1e-9)) - bottom) / (top - bottom)));
  return { top: 10 ** top, bottom: 10 ** bottom, part, steps: top - bottom };
}

function area(values, scale) {
  const known = values.map((value) => value ?? 0);
  if (!known.length) return "";
  const first = (SLOTS - known.length + 1) * 1000 / SLOTS;
  return `${path(known, scale)}L1000 100L${first.toFixed(1)} 100Z`;
}

class Chart {
  constructor(kind, number) {
    this.kind = kind;
    this.hovered = null;
    const id = `chart-${number}`;
    this.description = drawn("title", { id: `${id}-text` });
    this.area = drawn("path", { class: "area s0" });
    this.lines = drawn("g");
    this.grid = drawn("g");
    this.cursor = drawn("line", { class: "cursor", y1: 0, y2: 100 });
    this.svg = drawn("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-text` },
      this.description, this.grid, this.area, this.lines, this.cursor);
    this.top = element("span", { class: "top", "aria-hidden": "true" });
    this.bottom = element("span", { class: "bottom", "aria-hidden": "true" });
    this.none = element("span", { class: "none" }, "nothing yet");
    this.at = element("span", { class: "at" });
    this.legend = element("ul", { class: "legend" });
    this.scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${kind.title}, numbers` });
    this.numbers = element("details", {}, element("summary", {}, "Numbers", element("span", { class: "hidden" }, ` of ${kind.title}`)), this.scroll);
    this.root = element("section", { class: "card chart", "aria-labelledby": id },
      element("header", {}, element("h3", { id }, kind.title), this.at),
      element("div", { class: "plot" }, this.svg, this.top, this.bottom, this.none),
      element("div", { class: "axis", "aria-hidden": "true" }, element("span", {}, "10 min ago"), element("span", {}, "5"), element("span", {}, "now")),
      this.legend, this.numbers);
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerdown", (event) => this.hover(event));
    // A lifted finger leaves too. What it has pointed at stays until another place is touched.
    this.svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") this.leave(); });
    document.addEventListener("pointerdown", (event) => { if (!this.svg.contains(event.target)) this.leave(); });
    this.numbers.addEventListener("toggle", () => this.tabulate());
  }

  show(status) {
    this.ends = status.history.intervals.ends;
    this.series = this.kind.series(status);
    const known = this.series.flatMap((series) => series.values).filter((value) => value !== null);
    const scale = this.kind.decades ? decades(known) : even(known);
    set(this.top, scale.top === null ? "" : this.kind.format(scale.top));
    set(this.bottom, scale.bottom === null ? "" : this.kind.format(scale.bottom));
    const steps = Array.from({ length: scale.steps }, (_, step) => 100 * step / scale.steps);
    each(this.grid, steps, () => drawn("line", { class: "grid", x1: 0, x2: 1000 }), (line, y) => {
      attribute(line, "y1", y);
      attribute(line, "y2", y);
    });
    this.none.hidden = known.length > 0;
    each(this.lines, this.series, () => drawn("path"), (line, series, place) => {
      attribute(line, "class", `series s${place % 6}`);
      attribute(line, "d", path(series.values, scale));
    });
    attribute(this.area, "d", this.kind.area ? area(this.series[0].values, scale) : "");
    const words = this.series.map((series) => {
      const values = series.values.filter((value) => value !== null);
      return values.length ? `${series.label} last ${this.kind.format(values.at(-1))}, highest ${this.kind.format(Math.max(...values))}` : `${series.label} none`;
    });
    set(this.description, `${this.kind.title} in the last ten minutes: ${words.join("; ")}.`);
    this.read();
    this.tabulate();
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const slot = Math.round((event.clientX - box.left) / box.width * SLOTS) - 1;
    const place = slot - (SLOTS - (this.ends?.length ?? 0));
    this.hovered = place >= 0 && place < this.ends?.length ? place : null;
    this.read();
  }

  leave() {
    this.hovered = null;
    this.read();
  }

  // Shows the values at the pointer, or else the latest.
  read() {
    if (!this.ends) return;
    const place = this.hovered ?? this.ends.length - 1;
    const isPast = this.hovered !== null && this.ends[place] !== undefined;
    set(this.at, isPast ? `at ${clock(this.ends[place])}` : this.kind.decades ? "logarithmic" : "");
    const x = (place + SLOTS - this.ends.length + 1) * 1000 / SLOTS;
    attribute(this.cursor, "x1", x);
    attribute(this.cursor, "x2", x);
    attribute(this.cursor, "visibility", isPast ? "visible" : "hidden");
    this.cursor.style.visibility = isPast ? "visible" : "hidden";
    const make = () => element("li", {}, drawn("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, drawn("line", { x1: 1, x2: 27, y1: 4, y2: 4 })), element("span"), element("b"));
    each(this.legend, this.series, make, (item, series, number) => {
      attribute(item.children[0].firstElementChild, "class", `series s${number % 6}`);
      set(item.children[1], series.label);
      set(item.children[2], this.kind.format(series.values[place] ?? null));
    });
  }

  // Shows the values as a table.
  tabulate() {
    if (!this.numbers.open || !this.series) return;
    const columns = [
      { label: "Until", text: (place) => clock(this.ends[place]) },
      ...this.series.map((series) => ({ label: series.label, number: true, text: (place) => this.kind.format(series.values[place] ?? null) })),
    ];
    const key = columns.map((column) => column.label).join();
    if (this.scroll.dataset.key !== key) {
      const made = element("table", {}, element("thead", {}, element("tr")), element("tbody"));
      this.scroll.replaceChildren(made);
      this.scroll.dataset.key = key;
    }
    const [head, body] = this.scroll.firstElementChild.children;
    table(head.firstElementChild, body, columns, this.ends.map((_, place) => place).reverse());
  }
}

const charts = CHARTS.map((kind, number) => new Chart(kind, number));
$("charts").append(...charts.map((chart) => chart.root));
