// Asks a work server for works through the published Atto client, as a wallet does, and checks every answer.
//
//     node works.mjs http://127.0.0.1:8080 8 [SECONDS]
//
// Prints one line a work and exits 0; at the first wrong answer, error or after SECONDS (default 60) it says why and
// exits 1. All works are for LOCAL, the cheapest network.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

import {
  AttoAlgorithm,
  AttoPublicKey,
  AttoReceivable,
  attoAccountOpen,
  attoAccountSend,
  toAttoAmount,
} from "@attocash/commons-core";
import { AttoWorkerAsyncBuilder } from "@attocash/commons-worker-remote";
import { blake2b } from "@noble/hashes/blake2.js";

const AT_ONCE = 4;

const [url, countText, secondsText = "60"] = process.argv.slice(2);
const count = Number(countText);
const seconds = Number(secondsText);
if (!url || !(Number.isInteger(count) && count > 0) || !(Number.isInteger(seconds) && seconds > 0)) {
  fail("usage: node works.mjs URL COUNT [SECONDS]");
}

// The client's own time-out is per request; this one also ends a run whose requests never settle at all.
setTimeout(() => fail(`the works were not all there after ${seconds} s`), seconds * 1000);

try {
  checkTheCheck();
  await solveAll();
} catch (error) {
  fail(error);
}
// An explicit end, because the client looks ahead: it is still asking for the blocks that would come next.
process.exit(0);

async function solveAll() {
  const worker = new AttoWorkerAsyncBuilder(url).timeoutSeconds(BigInt(seconds)).build();

  // One account's blocks, one after the other: an open block, then sends that each build on the block before.
  const sequential = Math.ceil(count / 2);
  let update = openAccount();
  for (let i = 1; i <= sequential; i++) {
    await solve(worker, update.block, `sequential ${i}`);
    update = attoAccountSend(update.account, someAddress(), toAttoAmount("1"));
  }

  // The first blocks of several accounts at once.
  for (let i = sequential + 1; i <= count; i += AT_ONCE) {
    const group = Array.from({ length: Math.min(AT_ONCE, count - i + 1) }, (_, k) => i + k);
    await Promise.all(group.map((n) => solve(worker, openAccount().block, `concurrent ${n}`)));
  }
}

async function solve(worker, block, label) {
  const started = performance.now();
  const work = bytes((await worker.workBlock(block)).value);
  const elapsed = Math.round(performance.now() - started);

  const target = bytes((block.previous ?? block.publicKey).value);
  const timestamp = Number(block.timestamp.toEpochMilliseconds());
  const text = `target ${hex(target)} timestamp ${timestamp} work ${hex(work)}`;
  if (!isValid(block.network.name, timestamp, target, work)) {
    throw new Error(`${label}: wrong work: ${text}`);
  }
  console.log(`${label}: ${text} ${elapsed} ms`);
}

// A new account that has been sent something, with its open block stamped with the current time.
function openAccount() {
  const receivable = {
    network: "LOCAL",
    hash: hex(randomBytes(32)),
    version: 0,
    algorithm: "V1",
    publicKey: hex(randomBytes(32)),
    timestamp: Date.now(),
    receiverAlgorithm: "V1",
    receiverPublicKey: hex(randomBytes(32)),
    amount: 1_000_000,
  };
  return attoAccountOpen(someAddress(), AttoReceivable.fromJson(JSON.stringify(receivable)));
}

function someAddress() {
  return new AttoPublicKey(new Int8Array(randomBytes(32))).toAddress(AttoAlgorithm.V1);
}

// The protocol's rule, written out here because the client's own check must not be the only one.
function isValid(network, timestamp, target, work) {
  const factor = { LIVE: 1n, BETA: 10n, DEV: 100n, LOCAL: 100_000n }[network];
  const year = new Date(timestamp).getUTCFullYear();
  const threshold = ((2n ** 33n - 1n) * factor) / BigInt(Math.floor(2 ** ((year - 2024) / 2)));
  const digest = blake2b(Buffer.concat([work, target]), { dkLen: 8 });
  return work.length === 8 && Buffer.from(digest).readBigUInt64LE() <= threshold;
}

// A check that accepts anything would pass every server, so it meets known good and bad works first.
function checkTheCheck() {
  const vectors = JSON.parse(readFileSync(new URL("../vectors.json", import.meta.url)));
  for (const { network, timestamp, target, work, valid } of vectors.published) {
    if (isValid(network, timestamp, Buffer.from(target, "hex"), Buffer.from(work, "hex")) !== valid) {
      throw new Error(`this script's own check is wrong about work ${work}`);
    }
  }
}

// The client hands out signed bytes.
function bytes(signed) {
  return Buffer.from(signed.buffer, signed.byteOffset, signed.byteLength);
}

function hex(buffer) {
  return buffer.toString("hex").toUpperCase();
}

function fail(reason) {
  console.error(`works.mjs: ${reason?.message ?? reason}`);
  process.exit(1);
}
