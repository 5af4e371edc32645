// An ordinary Node application: calls the next service and answers the chain. It knows nothing of lanes or traces.
//
// Between a request and its call lie timers, Promise.all, and a pool of kept connections that is smaller than the load, so
// that calls wait in a queue: what runs before a call is rarely what belongs to it. Even orders are sent by `http`, odd
// ones by `fetch`, but where nothing redirects: `fetch` names no other host than the one it dials.
"use strict";

const http = require("node:http");
const { setTimeout: pause } = require("node:timers/promises");
const express = require("express");

const SOCKETS_MAX = 16;
const CALL_TIMEOUT_MS = 20_000;

const { NAME = "", TAG = "", ADDRESS = "", NEXT = "", VIA = "", LISTEN = "" } = process.env;
const agent = new http.Agent({ keepAlive: true, maxSockets: SOCKETS_MAX });

function callByHttp(url) {
  return new Promise((resolve, reject) => {
    const [host, port] = VIA ? VIA.split(":") : [url.hostname, url.port];
    const options = { agent, host, port, path: url.pathname + url.search, headers: { host: url.host }, timeout: CALL_TIMEOUT_MS };
    const sent = http.get(options, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (part) => (text += part));
      answer.on("end", () => resolve({ status: answer.statusCode, error: answer.headers["x-laneway-error"], text }));
      answer.on("error", reject);
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
  });
}

async function callByFetch(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
  return { status: answer.status, error: answer.headers.get("x-laneway-error"), text: await answer.text() };
}

async function chain(request, response) {
  const asked = request.query.order;
  const order = Number(asked ?? 0);
  const own = `${NAME}${TAG}[${ADDRESS}${asked === undefined ? "" : ` ${order}`}]`;
  response.type("text/plain");
  if (!NEXT) {
    response.send(`${own}\n`);
    return;
  }
  const url = new URL(NEXT);
  url.searchParams.set("order", order);
  await pause(order % 4);
  const call = VIA || order % 2 === 0 ? callByHttp : callByFetch;
  const [answer] = await Promise.all([call(url), pause(order % 3)]);
  const said = answer.status === 200 ? answer.text : `${answer.status} ${answer.error ?? answer.text.trim()}\n`;
  response.status(answer.status).send(`${own} -> ${said}`);
}

const app = express();
app.get("/{*path}", chain);
for (const listen of LISTEN.split(",")) {
  const at = listen.lastIndexOf(":");
  const host = listen.slice(0, at).replace(/^\[|\]$/g, "");
  http.createServer(app).listen({ host, port: Number(listen.slice(at + 1)), ipv6Only: host.includes(":") });
}
