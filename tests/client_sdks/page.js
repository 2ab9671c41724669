// The SDKs of a page, each behind the same few functions, which the tests call: window.sdks[name].

import { createClient } from "@launchdarkly/js-client-sdk";
import * as launchdarkly3 from "launchdarkly-js-client-sdk";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
let client;

function details(keys) {
  return Object.fromEntries(keys.map((key) => [key, client.variationDetail(key, null)]));
}

const version3 = {
  async start({ environment, url, context, hash, bootstrap }) {
    const options = { baseUrl: url, sendEvents: false, streaming: false, evaluationReasons: true, logger: quiet };
    client = launchdarkly3.initialize(environment, context, { ...options, hash, bootstrap });
    await client.waitForInitialization(30);
  },
  async identify({ context, hash, keys }) {
    await client.identify(context, hash);
    return details(keys);
  },
  details,
};

const version4 = {
  async start({ environment, url, context, hash, bootstrap }) {
    const options = { baseUri: url, sendEvents: false, streaming: false, withReasons: true, logger: quiet };
    client = createClient(environment, context, options);
    const outcome = await client.start({ timeout: 30, bootstrap, identifyOptions: { hash } });
    if (outcome.status !== "complete") {
      throw outcome.error ?? new Error(outcome.status);
    }
  },
  async identify({ context, hash, keys }) {
    const outcome = await client.identify(context, { hash });
    if (outcome.status !== "completed") {
      throw outcome.error ?? new Error(outcome.status);
    }
    return details(keys);
  },
  details,
};

const openFeature = {
  async start({ url, token, context, pollInterval }) {
    const headers = [["Authorization", `Bearer ${token}`]];
    await OpenFeature.setContext(context);
    const provider = new OFREPWebProvider({ baseUrl: url, pollInterval, headers });
    await OpenFeature.setProviderAndWait(provider);
  },
  async identify({ context, keys }) {
    await OpenFeature.setContext(context);
    return openFeature.details(keys);
  },
  details(keys) {
    const client = OpenFeature.getClient();
    return Object.fromEntries(keys.map((key) => [key, client.getStringDetails(key, "default")]));
  },
  changed() {
    return new Promise((resolve) => OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, resolve));
  },
};

window.sdks = { version3, version4, openFeature };
