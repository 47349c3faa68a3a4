// rpc.mjs CLIENT SERVER N AT_ONCE ANSWER...: what rpc.lua does, with one of two clients in Node. `map` is
// what one writes by hand: lines split, answers found in a Map of promises. `vscode-jsonrpc` is
// what codex-acp is built on, with its reader and writer.
import { spawn } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import rpc from "../../peers/node_modules/vscode-jsonrpc/lib/node/main.js";

function start(program, answer) {
  const env = { ...process.env, RPC_RESULT: answer };
  return spawn(program, [], { env, stdio: ["pipe", "pipe", "inherit"] });
}

function readLines(stream, take) {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stream.on("data", (chunk) => {
    const text = rest + decoder.write(chunk);
    let start = 0;
    for (let end; (end = text.indexOf("\n", start)) >= 0; start = end + 1)
      take(text.slice(start, end));
    rest = text.slice(start);
  });
}

function end(child) {
  const ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.end();
  return ended;
}

class MapPeer {
  #child;
  #ids = 0;
  #calls = new Map();

  constructor(program, answer) {
    this.#child = start(program, answer);
    readLines(this.#child.stdout, (line) => this.#take(JSON.parse(line)));
    this.#child.on("close", () => {
      for (const call of this.#calls.values()) call.reject(new Error("the server is gone"));
    });
  }

  #take(message) {
    const call = this.#calls.get(message.id);
    if (!call) return;
    this.#calls.delete(message.id);
    if (message.error) call.reject(new Error(message.error.message));
    else call.resolve(message.result);
  }

  request(method, params) {
    const id = this.#ids++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#child.stdin.write(JSON.stringify({ id, method, params }) + "\n");
    });
  }

  close() { return end(this.#child); }
}

class VscodePeer {
  #child;
  #connection;

  constructor(program, answer) {
    this.#child = start(program, answer);
    const never = new rpc.Emitter().event;
    const events = { onError: never, onClose: never, onPartialMessage: never, dispose() {} };
    const reader = {
      ...events,
      listen: (take) => readLines(this.#child.stdout, (text) => {
        const message = JSON.parse(text.trim());
        if (message.jsonrpc === undefined) message.jsonrpc = "2.0";
        take(message);
      }),
    };
    const writer = {
      ...events,
      write: async (message) => {
        const sent = { ...message };
        delete sent.jsonrpc;
        this.#child.stdin.write(JSON.stringify(sent) + "\n");
      },
      end() {},
    };
    this.#connection = rpc.createMessageConnection(reader, writer);
    this.#connection.listen();
  }

  request(method, params) { return this.#connection.sendRequest(method, params); }
  close() { return end(this.#child); }
}

const [client, program, number, many, ...answers] = process.argv.slice(2);
const Peer = { map: MapPeer, "vscode-jsonrpc": VscodePeer }[client];
const count = Number(number), atOnce = Number(many);
const params = {
  threadId: "01a1fa92-6fa5-75a1-909a-bd7b6916c983", input: [{ type: "text", text: "hello" }],
};

async function ask(peer, n) {
  for (let i = 0; i < n; i++) {
    const result = await peer.request("turn/start", params);
    if (!result.turn && !result.data) throw new Error("no answer");
  }
}

async function time(peer, n) {
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: atOnce }, () => ask(peer, Math.floor(n / atOnce))));
  return Number(process.hrtime.bigint() - start) / 1e3 / n;
}

for (const answer of answers) {
  const peer = new Peer(program, answer);
  await time(peer, count); // the first are slower
  console.log(`${await time(peer, count)}`);
  await peer.close();
}
