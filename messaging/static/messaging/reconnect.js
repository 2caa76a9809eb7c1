/**
 * When a device comes back, or repeats: the server's word says whether, the attempts say how soon.
 *
 * Full jitter: a wait is random between 0 and a limit that doubles, so that a fleet cut off in one moment does not return
 * in one moment.
 */

const FIRST_MS = 100; // limit of the first wait: a restarted server is back in about a second
const LIMIT_MS = 10_000; // it doubles up to here
const REPEAT_LIMIT_MS = 2_000; // of what is random in the wait before a repeat

/** Whether a close code says: come back. 1008, 1009 and 4500-4999 say: do not. */
export function mayReturn(code) {
  return code !== 1008 && code !== 1009 && !(code >= 4500 && code < 5000);
}

/** The ms until a repeat: what the server asks for, and a random part of a limit that doubles with each refusal in a row. */
export function repeatMs(retryAfter, refusals, random) {
  const half = retryAfter / 2;
  return retryAfter + random() * Math.min(Math.max(REPEAT_LIMIT_MS, half), half * 2 ** refusals);
}

/** How long to wait; `attempts` counts the connections that brought no welcome. */
export class Backoff {
  constructor(random) {
    Object.assign(this, { random, attempts: 0 });
  }

  /** The ms until the next connect, after this farewell if there was one. */
  wait(farewell) {
    const limit = Math.min(LIMIT_MS, FIRST_MS * 2 ** this.attempts);
    this.attempts += 1;
    return (farewell?.reconnect_after ?? 0) + this.random() * limit;
  }
}
