/** Runs conformance cases against `Session`; what they mean is in messaging/protocol/conformance/README.md. */

import { Session } from "/messaging/session.js";

const WELCOME = {
  device: "d1", user: "u1", session: "s1", epoch: "e1",
  window: { messages: 1000, bytes: 65536 },
  limits: { body_bytes: 65536, frame_bytes: 1048576, requests: 256 },
};

const VERBS = { delete: "remove", set_presence: "setPresence" };

/** Nothing said is not the same as false or no text where it means "as it was", or true. */
const LITERAL = new Set(["presence.set", "typing"]);

const isNothing = (value) =>
  value === undefined || value === null || value === 0 || value === "" || value === false ||
  (typeof value === "object" && Object.keys(value).length === 0);

/** A value in the form that is compared: keys in order, nothing where nothing is said. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  const isAbsent = LITERAL.has(value.type) ? (one) => one == null : isNothing;
  const isDefault = (key, one) => (key === "kind" && one === "text") || (key === "typing" && one === true);
  const kept = Object.entries(value).filter(([key, one]) => key !== "ref" && !isAbsent(one) && !isDefault(key, one));
  return Object.fromEntries(kept.sort().map(([key, one]) => [key, plain(one)]));
}

class Run {
  constructor({ random = 0, saved = {} }) {
    const { cursors = {}, reads = {}, left = [], outbox = [], ...rest } = saved;
    const known = [...new Set([...Object.keys(cursors), ...left])];
    const conversations = Object.fromEntries(
      known.map((id) => [id, { cursor: cursors[id] ?? null, read: reads[id] ?? 0, left: left.includes(id) ? (cursors[id] ?? 0) : null }]),
    );
    const entries = outbox.map((frame) => ({ id: frame.client_id, conversation: frame.conversation, frame, asked: 0 }));
    this.session = new Session({ token: "t", saved: { ...rest, conversations, outbox: entries }, random: () => random });
    Object.assign(this, { now: 0, sent: [], told: [], syncs: new Map(), lastSync: null, last: {} });
  }

  step(step) {
    if (step.open) this.#open(step.open);
    if (step.refused) {
      if (!this.#refuses(...Object.entries(step.do)[0])) return `not refused: ${JSON.stringify(step.do)}`;
    } else if (step.do) this.#do(...Object.entries(step.do)[0]);
    if (step.receive) this.session.received(step.receive.map((frame) => this.#addressed(frame)), this.now, step.bytes ?? 0);
    if (step.at !== undefined) this.#advance(step.at);
    this.#take();
    if (step.expect) return this.#compare("frames", step.expect, this.sent.splice(0));
    if (step.events) return this.#compare("events", step.events, this.told.splice(0));
    if (step.state) return this.#compare("state", step.state, this.#state(step.state));
    return null;
  }

  #open(fields) {
    this.session.connect(this.now);
    this.session.opened(this.now);
    this.session.take();
    this.session.received([this.#addressed({ type: "welcome", ...fields })], this.now);
  }

  #do(verb, { client_id: clientId, base_version: baseVersion, reply_to: replyTo, ...rest }) {
    const { session, now } = this;
    if (verb === "closed") return session.closed(rest.code, now);
    if (verb === "connect" || verb === "opened" || verb === "disconnect") return session[verb](now);
    session[VERBS[verb] ?? verb]({ ...rest, clientId, baseVersion, replyTo }, now);
  }

  #refuses(verb, fields) {
    try {
      this.#do(verb, fields);
    } catch {
      return true;
    }
    return false;
  }

  #addressed(frame) {
    if (frame.type === "welcome") return { ...WELCOME, ...frame };
    const sync = this.syncs.get(frame.conversation) ?? this.lastSync;
    const { ping, "presence.set": set, "presence.watch": watch } = this.last;
    const refs = { $sync: frame.type === "error" ? this.lastSync : sync, $ping: ping, $set: set, $watch: watch };
    return frame.ref in refs ? { ...frame, ref: refs[frame.ref] } : frame;
  }

  #advance(moment) {
    const { session } = this;
    while (session.deadline !== null && session.deadline <= moment) {
      this.now = session.deadline;
      session.tick(this.now);
      this.#take();
    }
    this.now = moment;
  }

  #take() {
    const { frames, settled } = this.session.take();
    for (const frame of frames) {
      if (frame.type === "sync") this.syncs.set(frame.conversation, (this.lastSync = frame.ref));
      this.last[frame.type] = frame.ref;
    }
    this.sent.push(...frames);
    const told = settled.map(({ entry: { id }, error }) => (error ? { refused: id, code: error.code } : { confirmed: id }));
    this.told.push(...told);
  }

  #state(asked) {
    const { session } = this;
    const all = [...session.conversations.values()];
    const shown = {
      phase: session.phase,
      wait: session.phase === "waiting" ? session.deadline - this.now : undefined,
      cursors: Object.fromEntries(all.filter(({ cursor }) => cursor !== null).map(({ id, cursor }) => [id, cursor])),
      epoch: session.epoch,
      outbox: session.outbox.entries.map(({ id }) => id),
      messages: Object.fromEntries(Object.entries(asked.messages ?? {}).map(([id, some]) => [id, this.#messages(id, some)])),
      left: all.filter(({ left }) => left !== null).map(({ id }) => id),
      stale: session.presence.stale,
      presence: this.#presence(asked.presence ?? {}),
      typing: Object.fromEntries(Object.keys(asked.typing ?? {}).map((id) => [id, session.typists.of(id)])),
      reads: Object.fromEntries(all.filter(({ read }) => read > 0).map(({ id, read }) => [id, read])),
    };
    return Object.fromEntries(Object.keys(asked).map((key) => [key, shown[key]]));
  }

  #presence(asked) {
    const users = [...this.session.presence.users.values()];
    return Object.fromEntries(
      users.map((one) => [one.user, Object.fromEntries(Object.keys(asked[one.user] ?? one).map((field) => [field, one[field]]))]),
    );
  }

  #messages(id, asked) {
    return (this.session.conversations.get(id)?.visible() ?? []).map((message, index) => {
      const fields = Object.keys(asked[index] ?? message);
      const shown = Object.fromEntries(fields.map((field) => [field, message[field]]));
      if (asked[index]?.deleted === true) shown.deleted = Boolean(message.deleted);
      return shown;
    });
  }

  #compare(what, expected, found) {
    const [one, other] = [expected, found].map((value) => JSON.stringify(plain(value)));
    return one === other ? null : `${what}: expected ${one}, found ${other}`;
  }

  get left() {
    return this.sent.length ? `frames that nothing expected: ${JSON.stringify(this.sent)}` : null;
  }
}

/** Runs one case. Returns what is wrong, or null. */
export function run(one) {
  const current = new Run(one);
  for (const [index, step] of one.steps.entries()) {
    const problem = current.step(step);
    if (problem) return `step ${index + 1}: ${problem}`;
  }
  return current.left;
}
