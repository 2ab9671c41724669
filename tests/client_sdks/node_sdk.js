// LaunchDarkly's Node client SDK, told what to do by lines of JSON on stdin; answers each with one on stdout.
//
// {"environment", "baseUrl", "context", "hash"?, "bootstrap"?}  starts a client; {"error"} if it cannot
// {"identify": context, "hash"?, "keys": [...]}                 {key: {value, variationIndex, reason}}
// {"keys": [...]}                                               the same for the context that the client has

"use strict";

const readline = require("node:readline");
const launchdarkly = require("launchdarkly-node-client-sdk");

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
let client;

async function start({ environment, baseUrl, context, ...more }) {
  const options = { baseUrl, sendEvents: false, streaming: false, evaluationReasons: true, logger: quiet, ...more };
  client = launchdarkly.initialize(environment, context, options);
  await client.waitForInitialization(30);
  return {};
}

async function details({ identify, hash, keys }) {
  if (identify !== undefined) {
    await client.identify(identify, hash);
  }
  return Object.fromEntries(keys.map((key) => [key, client.variationDetail(key, null)]));
}

async function answerEach() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = await ("environment" in request ? start(request) : details(request));
    } catch (error) {
      answer = { error: error.message };
    }
    console.log(JSON.stringify(answer));
  }
  process.exit(0);
}

answerEach();
