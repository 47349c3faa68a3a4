// events.mjs CODEX: what events.lua does, with the official SDK.
import { Codex } from "../../peers/node_modules/@openai/codex-sdk/dist/index.js";

const thread = new Codex({ codexPathOverride: process.argv[2] }).startThread();
const turn = await thread.runStreamed("go");
let events = 0, items = 0;
for await (const event of turn.events) {
  events++;
  if (event.type === "item.completed") items++;
}
console.log(`${events}\t${items}`);
