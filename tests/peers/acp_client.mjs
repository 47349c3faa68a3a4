// An ACP client for tests: starts codex-acp on a given Codex, opens one session, sends one prompt,
// and writes what happens to standard output, one JSON object a line. The protocol is spoken by the
// official library, so what passes here passes for an editor that uses it.
//
//   node acp_client.mjs [--answer allow|always|reject|cancel|fail] [--cwd DIR] [--mode MODE]
//                       [--timeout SECONDS] CODEX PROMPT
//
// CODEX is the program that codex-acp starts as `CODEX app-server`. --answer says what becomes of
// permission requests; with `fail`, the default, one that comes makes the status 1. MODE is one of
// codex-acp's (read-only, workspace-write, agent, agent-full-access). Status 0: the prompt ended
// for whatever reason and codex-acp went away by itself; 1: anything else; 2: wrong usage.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Readable, Writable } from "node:stream";
import { parseArgs } from "node:util";
import * as acp from "@agentclientprotocol/sdk";

const kinds = {
  allow: "allow_once", always: "allow_always", reject: "reject_once", cancel: null, fail: null,
};

function usage(message) {
  process.stderr.write(`acp_client.mjs: ${message}\n`);
  process.exit(2);
}

function readArguments() {
  const text = { type: "string" };
  let parsed;
  try {
    parsed = parseArgs({
      options: { answer: text, cwd: text, mode: text, timeout: text },
      allowPositionals: true,
    });
  } catch (error) {
    usage(error.message);
  }
  const { values, positionals } = parsed;
  const options = { answer: "fail", cwd: process.cwd(), timeout: "60", ...values };
  if (!(options.answer in kinds)) usage(`there is no answer '${options.answer}'`);
  if (positionals.length !== 2) usage("a Codex and a prompt are needed");
  return { ...options, codex: positionals[0], prompt: positionals[1] };
}

const options = readArguments();

function emit(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");
}

// The file that npm would link as node_modules/.bin/codex-acp.
function findAgent() {
  const manifest = createRequire(import.meta.url)
    .resolve("@agentclientprotocol/codex-acp/package.json");
  const bin = JSON.parse(readFileSync(manifest, "utf8")).bin;
  return join(dirname(manifest), bin["codex-acp"]);
}

// In a group of its own, so that a run that is given up leaves no Codex behind.
const agent = spawn(process.execPath, [findAgent()], {
  cwd: options.cwd,
  env: { ...process.env, CODEX_PATH: options.codex, NO_BROWSER: "1" },
  stdio: ["pipe", "pipe", "inherit"],
  detached: true,
});
const gone = new Promise((resolve) => {
  agent.on("error", (error) => resolve({ code: null, signal: null, error: error.message }));
  agent.on("exit", (code, signal) => resolve({ code, signal }));
});

function giveUp(message) {
  emit("error", { message });
  try {
    process.kill(-agent.pid, "SIGKILL");
  } catch {
    // It is gone already.
  }
  process.exit(1);
}

function late() {
  giveUp(`not done after ${options.timeout} s`);
}

process.on("SIGTERM", () => giveUp("told to end"));

// What a reader of a test wants to know of an update; everything else of it stays out of the line.
function describeUpdate(update) {
  const seen = { kind: update.sessionUpdate };
  for (const name of ["toolCallId", "title", "status"]) {
    if (update[name] !== undefined) seen[name] = update[name];
  }
  if (update.sessionUpdate.startsWith("tool_call") && update.kind) seen.tool = update.kind;
  if (update.content?.type === "text") seen.text = update.content.text;
  const exit = update.rawOutput?.exit_code ?? update._meta?.terminal_exit?.exit_code;
  if (exit !== undefined) seen.exit_code = exit;
  return seen;
}

let failure; // the first thing that makes the status 1

function answerPermission({ toolCall, options: offered }) {
  const ids = offered.map((one) => ({ id: one.optionId, kind: one.kind, name: one.name }));
  const wanted = options.answer;
  const chosen = offered.find((one) => one.kind === kinds[wanted]);
  emit("permission", {
    toolCallId: toolCall.toolCallId, title: toolCall.title, tool: toolCall.kind,
    offered: ids, chosen: chosen?.optionId,
  });
  if (chosen) return { outcome: { outcome: "selected", optionId: chosen.optionId } };
  if (wanted === "fail") failure ??= "a permission was asked for";
  else if (wanted !== "cancel") failure ??= `no option of kind ${kinds[wanted]} was offered`;
  return { outcome: { outcome: "cancelled" } };
}

async function talk(connection) {
  const { methods } = acp;
  const hello = await connection.request(methods.agent.initialize, {
    protocolVersion: acp.PROTOCOL_VERSION,
    clientInfo: { name: "acp-test-client", title: "ACP test client", version: "1.0.0" },
    clientCapabilities: {},
  });
  emit("initialized", {
    protocol: hello.protocolVersion, agent: hello.agentInfo,
    auth: (hello.authMethods ?? []).map((method) => method.id),
  });
  const session = await connection.request(methods.agent.session.new, {
    cwd: options.cwd, mcpServers: [],
  });
  emit("session", { id: session.sessionId, mode: session.modes?.currentModeId });
  const { sessionId } = session;
  if (options.mode) {
    await connection.request(methods.agent.session.setMode, { sessionId, modeId: options.mode });
    emit("mode", { id: options.mode });
  }
  const done = await connection.request(methods.agent.session.prompt, {
    sessionId, prompt: [{ type: "text", text: options.prompt }],
  });
  emit("stop", { reason: done.stopReason });
}

async function main() {
  const timer = setTimeout(late, Number(options.timeout) * 1000);
  agent.stdin.on("error", () => {}); // the connection says it
  const stream = acp.ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
  try {
    await acp.client({ name: "acp-test-client" })
      .onRequest(acp.methods.client.session.requestPermission,
        (ctx) => answerPermission(ctx.params))
      .onNotification(acp.methods.client.session.update,
        (ctx) => emit("update", describeUpdate(ctx.params.update)))
      .connectWith(stream, talk);
  } catch (error) {
    failure ??= error?.message ?? String(error);
    emit("refused", { message: failure, code: error?.code, data: error?.data });
  }
  agent.stdin.end();
  const end = await gone;
  emit("exit", end);
  clearTimeout(timer);
  if (end.code !== 0) failure ??= "codex-acp did not end well";
  if (failure) giveUp(failure);
}

main().catch((error) => giveUp(error?.stack ?? String(error)));
