// The entities of texts, with Node's own fetch (18 or newer): node examples/predict.mjs [--url URL] TEXT...
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";

const WORTH_REPEATING = new Set([429, 502, 503, 504]);

/**
 * One result for each text: {entities} or {error: {code, message}}.
 * Asks again, until the deadline, when the site says that it is worth it or cannot be reached.
 */
export async function predict(url, texts, { deadlineMs = 60_000, ...options } = {}) {
  const deadline = Date.now() + deadlineMs;
  for (let attempt = 0; ; attempt += 1) {
    const leftMs = deadline - Date.now();
    let pauseMs = Math.random() * Math.min(100 * 2 ** attempt, 5_000); // so that not everybody comes back at once
    let response;
    try {
      response = await fetch(`${url}/api/predict`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Request-Timeout": (leftMs / 1000).toFixed(3) },
        // Strings count UTF-16 units here; with the default, code points, slice() would cut in the wrong place.
        body: JSON.stringify({ texts, offsets: "utf16", ...options }),
        signal: AbortSignal.timeout(leftMs),
      });
    } catch (error) {
      if (error.name === "TimeoutError" || Date.now() + pauseMs >= deadline) throw error;
      await sleep(pauseMs);
      continue;
    }
    const reply = await response.json();
    if (response.ok) return reply.results;
    pauseMs += 1000 * Number(response.headers.get("Retry-After") ?? 0);
    if (!WORTH_REPEATING.has(response.status) || Date.now() + pauseMs >= deadline) {
      const { code, message } = reply.error;
      throw new Error(`${code}: ${message} (request ${response.headers.get("X-Request-Id")})`);
    }
    await sleep(pauseMs);
  }
}

const { values, positionals: texts } = parseArgs({
  allowPositionals: true,
  options: { url: { type: "string", default: process.env.NERSERVE_URL ?? "http://127.0.0.1:8000" } },
});
const results = await predict(values.url, texts);
results.forEach(({ entities, error }, i) => {
  if (error) console.error(`${error.code}: ${error.message}`);
  for (const { label, score, start, end } of entities ?? []) {
    console.log([label, score.toFixed(3), `${start}-${end}`, texts[i].slice(start, end)].join("\t"));
  }
});
