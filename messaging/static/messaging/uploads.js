/**
 * The files of one device that are on their way to the server, one after the other, while the device is connected.
 *
 * Laws: a file stays until it is removed, or its message is taken. What failed for a while goes again by itself, what was
 * refused when it is asked to. That an upload is repeated does no harm: one that no message takes is gone after a day.
 */

import { bytes } from "./bytes.js";
import { Backoff } from "./reconnect.js";
import { isForNow } from "./rest.js";

const UNREADABLE = " can't be read: it was changed or removed since, or is a folder; choose a file again.";

/** A file to be sent: `state` is "waiting", "going", "there" or "refused", `problem` what hinders it, `canGo` false if nothing helps, `stored` what the server has of it. */
class Item {
  constructor(file) {
    Object.assign(this, { file, name: file.name || "file", size: file.size });
    this.wait();
  }

  wait(problem = "") {
    Object.assign(this, { state: "waiting", share: 0, problem, stored: null });
  }

  refuse(problem) {
    Object.assign(this, { state: "refused", share: 0, problem, stored: null });
  }
}

export class Uploads {
  #items = new Set();
  #going = null; // {item, stop}
  #held = null; // timer of the wait after a failure
  #backoff = new Backoff(Math.random);

  /** `most` is the bytes that a file may have, `changed` is called after anything moved. */
  constructor(client, { most, changed }) {
    Object.assign(this, { client, most, changed });
    client.addEventListener("change", ({ detail }) => this.#look(detail));
  }

  /** Takes a File; returns its item. */
  add(file) {
    const item = new Item(file);
    item.canGo = file.size <= this.most;
    if (!item.canGo) item.refuse(tooLarge(item, this.most));
    this.#items.add(item);
    this.#next();
    return item;
  }

  /** Forgets a file: its message is taken, or nobody wants to send it any more. */
  remove(item) {
    this.#items.delete(item);
    if (this.#going?.item === item) this.#going.stop.abort();
  }

  /** Uploads a file now, once more if need be: no message took what the server has, or what hindered it may be over. */
  repeat(item) {
    if (!item.canGo || this.#going?.item === item) return;
    item.wait();
    this.#items.add(item);
    this.#release();
    this.#next();
    this.changed();
  }

  /** Without a connection, by the user's wish or for good, nothing goes out; a new one is the time to try again. */
  #look(heardOf) {
    const { phase } = this.client;
    if (phase === "closed" || phase === "stopped") this.#going?.stop.abort();
    if (heardOf.has("welcome")) this.#release();
    if (phase === "open") this.#next();
  }

  #next() {
    if (this.#going || this.#held !== null || this.client.phase !== "open") return;
    const item = [...this.#items].find(({ state }) => state === "waiting");
    if (item) this.#send(item);
  }

  async #send(item) {
    const stop = new AbortController();
    const progress = (share) => {
      item.share = share;
      this.changed();
    };
    this.#going = { item, stop };
    Object.assign(item, { state: "going", problem: "" });
    this.changed();
    try {
      const stored = await this.client.upload(item.file, { name: item.name, progress, signal: stop.signal });
      Object.assign(item, { state: "there", share: 1, stored });
      this.#backoff.attempts = 0;
    } catch (error) {
      if (stop.signal.aborted) item.wait();
      else await this.#failed(item, error);
    }
    this.#going = null;
    this.#next();
    this.changed();
  }

  async #failed(item, error) {
    if (!error.status && !(await isReadable(item.file))) return item.refuse(`${item.name}${UNREADABLE}`);
    const problem = `${item.name} was not taken. ${error.message}`;
    if (!isForNow(error)) return item.refuse(problem);
    item.wait(problem);
    this.#held = setTimeout(() => {
      this.#release();
      this.#next();
    }, this.#backoff.wait({ reconnect_after: error.retryAfter }));
  }

  #release() {
    clearTimeout(this.#held);
    this.#held = null;
  }
}

/** A file that was changed or removed since it was chosen, and a folder, can't be read; the browser says of both that there is no network. */
function isReadable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

function tooLarge({ name, size }, most) {
  return `${name} has ${bytes(size)} and a file at most ${bytes(most)}; split it, or share it in another way.`;
}
