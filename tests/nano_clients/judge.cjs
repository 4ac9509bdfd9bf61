// Judges works: reads a JSON list of [hash, work, threshold] from standard input, and writes a list of booleans.
const { validateWork } = require("nanocurrency");
const { readFileSync } = require("node:fs");

const works = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(works.map(([blockHash, work, threshold]) => validateWork({ blockHash, work, threshold }))));
