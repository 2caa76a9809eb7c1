/**
 * The calls that a device makes over HTTP: whatever the API offers, and files in both directions.
 *
 * Law: only what a server of ours said counts as an answer. Half of one, or a network's page that wants a log-in, is none.
 */

const ANSWER_MS = 60_000; // a call without its answer by then is on a dead connection: the longest texts of a page take half of it at 64 kbit/s
const STALL_MS = 60_000; // a file of which nothing moves for so long, either way, is on one; the server gives up an upload after 30 s

/** A refusal of the REST API; `code` is for programs, `message` for people, `retryAfter` in ms if it may be repeated then. */
export class ApiError extends Error {
  constructor({ code, message, status, retryAfter }) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }
}

/** Whether what was refused so may be taken later as it is; 408 is a line that was too slow. */
export function isForNow({ status, retryAfter }) {
  return status === 0 || status === 408 || status >= 500 || retryAfter != null;
}

/** Calls the REST API; the answer is JSON or, `as: "blob"`, a file. Throws ApiError when it refuses or, with status 0, can't be reached. */
export async function request(path, { method = "GET", body, authorization, as = "json", base = "/api" } = {}) {
  const headers = { Accept: "application/json" };
  const isForm = body instanceof FormData;
  if (authorization) headers.Authorization = authorization;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  const content = isForm || body === undefined ? body : JSON.stringify(body);
  const patience = new Patience(ANSWER_MS);
  try {
    const answer = await fetch(base + path, { method, headers, body: content, signal: patience.signal }).catch(unreachable);
    if (answer.ok && as === "blob") return await patience.with(answer).blob().catch(unreachable);
    return meant(answer.status, await answer.text().catch(unreachable));
  } finally {
    patience.end();
  }
}

/** How long a call is waited for: its `signal` ends it. A file may take longer, while any of it comes. */
class Patience {
  #stop = new AbortController();
  #timer;

  constructor(ms) {
    this.signal = this.#stop.signal;
    this.#wait(ms);
  }

  /** The same answer, of which each piece is waited for. */
  with(answer) {
    const transform = (piece, rest) => {
      this.#wait(STALL_MS);
      rest.enqueue(piece);
    };
    return new Response(answer.body.pipeThrough(new TransformStream({ transform })), answer);
  }

  end() {
    clearTimeout(this.#timer);
  }

  #wait(ms) {
    this.end();
    this.#timer = setTimeout(() => this.#stop.abort(), ms);
  }
}

/**
 * Uploads a File or Blob; returns {id, name, size, type, sha256}. `progress` is told the share that has left, from 0 to 1;
 * `signal` ends it. Throws ApiError as `request` does, or what `signal` was aborted with.
 */
export function upload(file, { name = file.name ?? "file", authorization, progress = () => {}, signal, base = "/api" } = {}) {
  const call = new XMLHttpRequest(); // fetch does not tell how far an upload is
  const form = new FormData();
  form.append("file", file, name);
  call.open("POST", `${base}/files`);
  call.setRequestHeader("Accept", "application/json");
  if (authorization) call.setRequestHeader("Authorization", authorization);
  return ended(call, form, { progress, signal }).then(() => {
    signal?.throwIfAborted();
    const stored = call.status ? meant(call.status, call.responseText) : null;
    return stored?.id ? stored : unreachable();
  });
}

/** Sends the form and waits for the end of the call, whatever it is; one that stands still is ended. */
function ended(call, form, { progress, signal }) {
  const stop = () => call.abort();
  let stalled = setTimeout(stop, STALL_MS);
  return new Promise((resolve) => {
    call.upload.onprogress = ({ loaded, total }) => {
      clearTimeout(stalled);
      stalled = setTimeout(stop, STALL_MS);
      progress(total ? loaded / total : 0);
    };
    call.onloadend = resolve;
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) return resolve();
    call.send(form);
  }).finally(() => {
    clearTimeout(stalled);
    signal?.removeEventListener("abort", stop);
  });
}

/** Throws ApiError "damaged" unless the content has this SHA-256. A page without TLS can't look, except on this computer. */
export async function check(content, sha256) {
  if (!sha256 || !globalThis.crypto?.subtle) return;
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", await content.arrayBuffer()));
  if (Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256) return;
  throw new ApiError({ code: "damaged", message: "The content that came is not the file's, or not all of it; fetch it again.", status: 200 });
}

/** What an answer means: its JSON, or the refusal in it. */
function meant(status, text) {
  const value = parsed(text);
  if (status >= 200 && status < 300) return value === undefined ? unreachable() : value;
  const { code = "internal", message = `The server answered ${status}; try again later.`, retry_after: retryAfter } = value ?? {};
  throw new ApiError({ code, message, retryAfter, status });
}

/** No answer, half of one, or something that no server of ours says, as of a network that wants a log-in first. */
function unreachable() {
  throw new ApiError({ code: "unreachable", message: "The server can't be reached; look at the network and try again.", status: 0 });
}

/** What a body says; null if it is empty, undefined if it is no JSON. */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return undefined;
  }
}
