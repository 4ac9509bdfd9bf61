// The facts, tiles, tables and lists of the page.
"use strict";

function showFacts({ server }) {
  const facts = [["host", server.host], ["version", server.version],
    ["commit", /^[0-9a-f]{40}$/.test(server.commit) ? server.commit.slice(0, 10) : server.commit], ["up for", seconds(server.uptime_seconds)]];
  each($("facts"), facts, () => element("div", {}, element("dt"), element("dd")), (item, [name, value]) => {
    set(item.children[0], name);
    set(item.children[1], value);
  });
}

function showTiles({ devices, queue, history }) {
  const { last_minute: minute, last_ten_minutes: ten } = history;
  const live = devices.reduce((sum, device) => sum + device.live_hash_rate, 0);
  const able = devices.filter((device) => device.state === "up").reduce((sum, device) => sum + device.hash_rate, 0);
  const refused = total(ten.requests, REFUSED);
  // Easy searches run at once, but take room too.
  const room = Math.max(0, queue.turns + queue.capacity - queue.running - queue.waiting);
  const tiles = [
    ["Works a second", perSecond(minute.works_per_second), `last minute; ${count(history.requests.ok)} since the start`],
    ["Hashes a second", hashRate(live), able ? `now, of ${hashRate(able)}` : "now"],
    ["Queue", queue.temperature,
      `${plural(queue.running, "runs", "run")}, ${plural(queue.waiting, "waits", "wait")}; room for ${count(room)} more`],
    ["Request, median", seconds(ten.total?.p50), ten.total ? `p99 ${seconds(ten.total.p99)}; last ten minutes` : "none in the last ten minutes"],
    ["Refused", count(refused), "last ten minutes"],
  ];
  const make = ([name]) => element("div", {}, element("dt", {}, name), element("dd", { class: "value" }), element("dd", { class: "more" }));
  each($("tiles"), tiles, make, (item, [, value, more]) => {
    set(item.children[1], value);
    set(item.children[2], more);
  });
  attribute($("tiles").children[2].children[1], "class", `value ${{ hot: "warn", full: "bad" }[queue.temperature] ?? ""}`);
  attribute($("tiles").children[4].children[1], "class", `value ${refused ? "bad" : ""}`);
}

const DEVICE_COLUMNS = [
  { label: "Device", fill: (cell, device) => {
    explained(cell, device.name, device.state === "down" || device.state === "unresponsive" || device.faults ? device.last_error ?? "" : "");
  } },
  { label: "State", fill: (cell, device) => {
    if (!cell.children.length) cell.append(element("span", { class: "pill" }));
    pill(cell.children[0], ...stateOf(device));
  } },
  { label: "Search", text: (device) => `${device.backend} · ${device.kernel}${device.engines > 1 ? ` · ${device.engines} engines` : ""}` },
  { label: "Now", number: true, fill: (cell, device) => {
    if (!cell.children.length) cell.append(element("span"), bar());
    set(cell.children[0], hashRate(device.live_hash_rate));
    const part = device.hash_rate ? Math.min(1, device.live_hash_rate / device.hash_rate) : 0;
    attribute(cell.children[1].firstElementChild, "width", (100 * part).toFixed(0));
  } },
  { label: "Measured", number: true, text: (device) => device.hash_rate ? hashRate(device.hash_rate) : "–" },
  { label: "Hashes", number: true, text: (device) => device.hashes >= 1e15 ? device.hashes.toExponential(2) : short(device.hashes) },
  { label: "Faults", number: true, fill: (cell, device) => {
    set(cell, count(device.faults));
    attribute(cell, "class", device.faults ? "number warn" : "number");
  } },
];

function bar() {
  return drawn("svg", { class: "bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("rect", { width: 0, height: 1 }));
}

function short(value) {
  for (const [word, size] of [["trillion", 1e12], ["billion", 1e9], ["million", 1e6]])
    if (value >= size) return `${three(value / size)} ${word}`;
  return count(value);
}

function showDevices({ devices }) {
  table($("devices-head"), $("devices"), DEVICE_COLUMNS, devices);
  $("no-devices").hidden = devices.length > 0;
}

const EXPECTED_COLUMNS = [
  { label: "Network", text: (row) => row.network },
  { label: "On average", number: true, text: (row) => seconds(row.mean_seconds) },
  { label: "p99", number: true, text: (row) => seconds(row.p99_seconds) },
];

function showExpected({ expected, devices }) {
  table($("expected-head"), $("expected"), EXPECTED_COLUMNS, expected);
  set($("expected-note"), expected.length
    ? "With all devices to itself, at the measured rate and today's thresholds. Chance spreads it widely: one in seven takes more than twice the average."
    : devices.some((device) => device.state === "up") ? "Not known until a device has been measured." : "Not known while no device is up.");
}

const EVENTS = {
  fault: ["bad", "failed"],
  not_opened: ["warn", "could not be opened"],
  back: ["good", "serves again"],
  fallen_back_to: ["warn", "serves, since no other device does"],
};

function showIncidents({ incidents, at }) {
  const latestFirst = [...incidents].reverse();
  const make = () => element("li", {}, element("time"), element("span", { "aria-hidden": "true" }), element("span"));
  each($("incidents"), latestFirst, make, (item, incident) => {
    const [level, words] = EVENTS[incident.what] ?? ["calm", incident.what];
    attribute(item.children[0], "datetime", new Date(incident.at).toISOString());
    attribute(item.children[0], "title", whole(incident.at));
    set(item.children[0], moment(incident.at, at));
    attribute(item.children[1], "class", level);
    set(item.children[1], MARKS[level]);
    const often = incident.times > 1 ? ` ${count(incident.times)} times, the last time` : "";
    set(item.children[2], `${incident.device} ${words}${often}${incident.text ? `: ${incident.text}` : ""}`);
  });
  $("incidents").hidden = incidents.length === 0;
  $("no-incidents").hidden = incidents.length > 0;
}

const SETTING_COLUMNS = [
  { label: "Variable", fill: (cell, setting) => code(cell, setting.variable) },
  { label: "Value", fill: (cell, setting) => code(cell, setting.value ?? "not set") },
  { label: "Source", text: (setting) => setting.is_default ? "default" : "set" },
];

function code(cell, text) {
  if (!cell.children.length) cell.append(element("code"));
  set(cell.children[0], text);
}

function showConfiguration({ configuration, api_keys }) {
  const changed = configuration.filter((setting) => !setting.is_default).length;
  const keys = api_keys === null ? "" : ` · ${plural(api_keys, "API key", "API keys")}`;
  set($("changed"), `${changed ? `${changed} of ${configuration.length} settings are set` : "no setting is set"}${keys}`);
  table($("settings-head"), $("settings-rows"), SETTING_COLUMNS, configuration);
}
