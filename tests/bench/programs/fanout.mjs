// fanout.mjs CODEX N: what fanout.lua does, with the official SDK.
import { Codex } from "../../peers/node_modules/@openai/codex-sdk/dist/index.js";

const codex = new Codex({ codexPathOverride: process.argv[2] });

async function count() {
  const turn = await codex.startThread().runStreamed("go");
  let events = 0;
  for await (const event of turn.events) events += event.type ? 1 : 0;
  return events;
}

const counts = await Promise.all(Array.from({ length: Number(process.argv[3]) }, count));
console.log(`${counts.reduce((a, b) => a + b, 0)}`);
