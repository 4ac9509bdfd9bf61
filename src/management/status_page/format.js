// Numbers, durations, times and words, as people read them.
"use strict";

const three = (value) => value >= 99.95 ? Math.round(value).toString() : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
const trimmed = (text) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
const count = (value) => Math.round(value).toLocaleString("en-GB");

function hashRate(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["TH/s", 1e12], ["GH/s", 1e9], ["MH/s", 1e6], ["kH/s", 1e3]])
    if (value >= size) return `${three(value / size)} ${unit}`;
  return `${Math.round(value)} H/s`;
}

function perSecond(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value >= 1000 ? count(value) : value < 0.01 ? "< 0.01" : trimmed(three(value));
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 ms";
  if (value < 1e-4) return "< 0.1 ms";
  if (value < 1.05e-4) return "0.1 ms";
  if (value < 0.00995) return `${(value * 1e3).toFixed(1)} ms`;
  if (value < 0.9995) return `${Math.round(value * 1e3)} ms`;
  if (value < 9.95) return `${trimmed(value.toFixed(1))} s`;
  if (value < 99.5) return `${Math.round(value)} s`;
  if (value < 599.5) return `${Math.floor(Math.round(value) / 60)} min ${Math.round(value) % 60} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes % 1440 / 60)} h`;
}

const twoDigits = (value) => String(value).padStart(2, "0");
const hour = (date) => `${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
const clock = (millis) => { const date = new Date(millis); return `${hour(date)}:${twoDigits(date.getSeconds())}`; };

// The time zone, as people write it.
function zone(date) {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? "−" : "+"}${twoDigits(Math.floor(size / 60))}:${twoDigits(size % 60)}`;
}

// A time in full: date, time and zone.
function whole(millis) {
  const date = new Date(millis);
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}, ${clock(millis)} ${zone(date)}`;
}

function moment(millis, now) {
  const date = new Date(millis);
  const day = (of) => new Date(of).toDateString();
  if (day(millis) === day(now)) return clock(millis);
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${hour(date)}`;
}

const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
const list = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
const sentence = (text) => /[.!?…]$/.test(text) ? text : `${text}.`;
