// The entities of texts, with Node's own fetch (18 or newer): node examples/predict.mjs [--url URL] TEXT...
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";

const WORTH_REPEATING = new Set([429, 502, 503, 504]);

/**
 * One result for each text: {entities} or {error: {code, message}}.
 * Asks again, until the deadline, when the site says that it is worth it or cannot be reached; the first time it says so
 * on stderr. Throws an Error that says what came instead of results.
 */
export async function predict(url, texts, { deadlineMs = 60_000, ...options } = {}) {
  const deadline = Date.now() + deadlineMs;
  let isWaiting = false;
  for (let attempt = 0; ; attempt += 1) {
    const leftMs = Math.max(deadline - Date.now(), 1);
    let pauseMs = Math.random() * Math.min(100 * 2 ** attempt, 5_000); // so that not everybody comes back at once
    let problem, isWorthRepeating;
    try {
      const response = await fetch(`${url}/api/predict`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Request-Timeout": (leftMs / 1000).toFixed(3) },
        // Strings count UTF-16 units here; with the default, code points, slice() would cut in the wrong place.
        body: JSON.stringify({ texts, offsets: "utf16", ...options }),
        signal: AbortSignal.timeout(leftMs),
      });
      const body = await response.text();
      const reply = parsed(body);
      if (response.ok && Array.isArray(reply?.results)) return reply.results;
      problem = whatCame(response, reply, body);
      isWorthRepeating = WORTH_REPEATING.has(response.status);
      pauseMs += 1000 * (Number(response.headers.get("Retry-After")) || 0); // a proxy's may be a date
    } catch (error) {
      [problem, isWorthRepeating] = whyNoResponse(url, error);
    }
    if (!isWorthRepeating) throw new Error(problem);
    if (Date.now() + pauseMs >= deadline) throw new Error(`${problem}; gave up after ${deadlineMs / 1000} s`);
    if (!isWaiting) console.error(`${problem}; trying again for up to ${Math.round(leftMs / 1000)} s`);
    isWaiting = true;
    await sleep(pauseMs);
  }
}

/** The value of JSON, undefined for anything else. */
function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** What the response says instead of results, in a line. */
function whatCame(response, reply, body) {
  const { url, status, statusText, headers } = response;
  if (reply?.error?.code) {
    return `${reply.error.code}: ${reply.error.message} (request ${headers.get("X-Request-Id") ?? "without an id"})`;
  }
  if (Number.isInteger(reply?.code) && reply.type) {
    return `${url} is a port of TorchServe (${reply.type}): expected the site's, which nerserve up prints`;
  }
  const words = body.replace(/<[^>]*>/g, " ").split(/\s+/).filter(Boolean).join(" ").slice(0, 60);
  return `${url} answered ${status} ${statusText}, not in the site's form: ${words}`;
}

/** Why nothing came, in a line, and whether it may pass. */
function whyNoResponse(url, error) {
  const cause = error.cause ?? error;
  if (cause.name === "HTTPParserError") {
    return [`${url} does not speak HTTP: is it the gRPC port? Expected the site's, which nerserve up prints`, false];
  }
  const isLasting = cause.name === "TimeoutError" || /INVALID|CERT|SSL/.test(cause.code) || !error.cause;
  return [`${url} is not reachable (${cause.code ?? cause.message})`, !isLasting];
}

const { values, positionals: texts } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string", default: process.env.NERSERVE_URL ?? "http://127.0.0.1:8000" },
    deadline: { type: "string", default: "60" }, // seconds until it gives up
  },
});
try {
  const results = await predict(values.url, texts, { deadlineMs: 1000 * Number(values.deadline) });
  results.forEach(({ entities, error }, i) => {
    if (error) console.error(`${error.code}: ${error.message}`);
    for (const { label, score, start, end } of entities ?? []) {
      console.log([label, score.toFixed(3), `${start}-${end}`, texts[i].slice(start, end)].join("\t"));
    }
  });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
