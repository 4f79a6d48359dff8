// A channel's receiver for the sign-flow callback, in plain Node.js (20 or later, nothing to install).
//
//     PORT=8090 DATA=received SECRET=whsec_... node receiver.mjs
//
// SECRET may be left out, or hold two secrets separated by a space while one is being rotated.
// Put what your channel does with a callback into handle(). docs/channels.md explains every step.

import { createHash, createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const MAX_BODY = 64 * 1024, MAX_NESTING = 64, TOLERANCE_SECONDS = 300;
const LIMITS = { sign_end_time: 32, sign_flow_status: 32, sign_flow_id: 32, sign_file_url: 128 };
const SECRETS = (process.env.SECRET ?? "").split(" ").filter(Boolean)
  .map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
if (process.env.SECRET !== undefined && !(SECRETS.length > 0 && SECRETS.every(({ length }) => length >= 24 && length <= 64))) {
  throw new Error("SECRET is set, but holds no secret"); // rather than going without
}

/** Yours to fill in. Runs once per flow; runs again only if it threw or the process died inside it. */
async function handle(callback) {
  console.log("ended:", callback.sign_flow_id, "as", callback.sign_flow_status);
}

/** The request is answered with this code, which is also the HTTP status. */
class Refused extends Error {
  constructor(code) { super(String(code)); this.code = code; }
}

/** The four members, or Refused(400). */
function parse(body) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    const value = JSON.parse(text);
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error("not an object");
    checkMembersAndNesting(text);
    const callback = {};
    for (const [name, limit] of Object.entries(LIMITS)) {
      const member = Object.hasOwn(value, name) ? value[name] : undefined;
      if (typeof member !== "string" || /\p{Surrogate}/u.test(member)) throw new Error(name);
      const characters = [...member].length; // characters, neither bytes nor UTF-16 units
      if (characters < 1 || characters > limit) throw new Error(name);
      callback[name] = member;
    }
    if (!["2", "3", "5", "7"].includes(callback.sign_flow_status)) throw new Error("sign_flow_status");
    if (!isTime(callback.sign_end_time)) throw new Error("sign_end_time");
    return callback;
  } catch {
    throw new Refused(400);
  }
}

/** JSON.parse takes the last of two equal members in silence. The text is known to be JSON here, so tokens suffice. */
function checkMembersAndNesting(text) {
  const open = []; // the names seen in each object that is open; null for an array
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === "{" || token === "[") {
      open.push(token === "{" ? new Set() : null);
      if (open.length > MAX_NESTING) throw new Error("nested too deeply");
    } else if (token === "}" || token === "]") {
      open.pop();
    } else if (token.endsWith(":")) {
      const name = JSON.parse(token.slice(0, -1));
      if (open.at(-1).has(name)) throw new Error("a member appears twice");
      open.at(-1).add(name);
    }
  }
}

function isTime(text) {
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$/.test(text) || text.startsWith("0000")) return false;
  const time = new Date(text.replace(" ", "T") + "Z");
  // A day that does not exist becomes another one, or none.
  return !Number.isNaN(time.getTime()) && time.toISOString().slice(0, 19) === text.replace(" ", "T");
}

/** Standard Webhooks: HMAC-SHA256 over id.timestamp.body. Does nothing when no secret is set. */
function checkSignature(headers, body) {
  if (SECRETS.length === 0) return;
  const [id, sent, given] = ["id", "timestamp", "signature"].map((part) => headers[`webhook-${part}`] ?? "");
  if (!id || id.includes(".") || !/^[0-9]{1,15}$/.test(sent)) throw new Refused(401);
  if (Math.abs(Date.now() / 1000 - Number(sent)) > TOLERANCE_SECONDS) throw new Refused(401);
  const signed = Buffer.concat([Buffer.from(`${id}.${sent}.`), body]);
  const fits = SECRETS.some((secret) => {
    const expected = Buffer.from("v1," + createHmac("sha256", secret).update(signed).digest("base64"));
    return given.split(" ").some((one) => {
      const bytes = Buffer.from(one);
      return bytes.length === expected.length && timingSafeEqual(bytes, expected);
    });
  });
  if (!fits) throw new Refused(401);
}

/** One file per flow, named by a digest of its id, since an id may hold any characters. */
const folder = process.env.DATA ?? "received";
const fileOf = (id) => path.join(folder, createHash("sha256").update(id).digest("hex") + ".json");

/** Writes a file whole and synced, unless there is one: returns false then. */
function writeOnce(file, text) {
  const unfinished = path.join(folder, randomUUID() + ".part");
  fs.writeFileSync(unfinished, text, { flush: true });
  const descriptor = fs.openSync(unfinished, "r+");
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
  try {
    fs.linkSync(unfinished, file); // all or nothing, and never over another file
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  } finally {
    fs.unlinkSync(unfinished);
  }
  const directory = fs.openSync(folder, "r");
  fs.fsyncSync(directory);
  fs.closeSync(directory);
  return true;
}

const handling = new Map(); // the handlers that run, so that a second copy waits for the first

async function keepAndHandle(callback) {
  const file = fileOf(callback.sign_flow_id);
  const members = JSON.stringify(callback, Object.keys(LIMITS));
  if (!writeOnce(file, members)) {
    const kept = fs.readFileSync(file, "utf8");
    if (kept !== members) {
      console.error("another end for a flow that has ended:", members, "kept:", kept);
      throw new Refused(409);
    }
  }
  if (fs.existsSync(file + ".handled")) return;
  if (!handling.has(file)) {
    const run = handle(callback).then(() => { writeOnce(file + ".handled", ""); });
    handling.set(file, run.finally(() => handling.delete(file)));
  }
  await handling.get(file);
}

function answer(response, status, code) {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8" });
  response.end(JSON.stringify({ response_code: code }));
}

const server = http.createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, async (request, response) => {
  if (request.method !== "POST") return answer(response, 405, "405");
  try {
    const chunks = [];
    let length = 0;
    for await (const chunk of request) {
      length += chunk.length;
      if (length <= MAX_BODY) chunks.push(chunk); // the rest is read, so that the client gets to read the answer
      if (length > 1024 * 1024) break;
    }
    if (length > MAX_BODY) throw new Refused(413);
    const body = Buffer.concat(chunks);
    checkSignature(request.headers, body);
    const type = request.headers["content-type"];
    if (type !== undefined && !/^application\/([^;]+\+)?json *(;|$)/i.test(type)) throw new Refused(400);
    await keepAndHandle(parse(body));
    answer(response, 200, "000");
  } catch (error) {
    if (request.destroyed && !request.complete) return; // nobody to answer any more
    if (error instanceof Refused) return answer(response, error.code, String(error.code));
    console.error("not handled:", error); // the platform will send it again
    answer(response, 500, "500");
  }
});

fs.mkdirSync(folder, { recursive: true });
for (const name of fs.readdirSync(folder).filter((name) => name.endsWith(".json"))) {
  const left = JSON.parse(fs.readFileSync(path.join(folder, name), "utf8"));
  await keepAndHandle(left).catch((error) => console.error("not handled:", error));
}
server.listen(Number(process.env.PORT ?? 8090), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/callback`);
});
