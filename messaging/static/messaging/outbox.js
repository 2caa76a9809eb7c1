/**
 * What the app has asked for and the server has not answered: one lane per conversation, strictly in order.
 *
 * An entry is {id, conversation, frame, asked, files?, sent}; `id` is its client_id. For the screen are `asked`, wall-clock ms,
 * and what is known of the files whose ids the frame names.
 */

const FULL_SPEED = 128; // requests at once: a lane that came so far starts slowly no more

const utf8 = new TextEncoder();
const size = ({ body = "" }) => utf8.encode(body).length;

export class Outbox {
  constructor(saved = []) {
    this.entries = saved.map((entry) => ({ ...entry, sent: false }));
    this.restart();
  }

  /** A new connection: nothing is under way, nothing is held. */
  restart() {
    for (const entry of this.entries) entry.sent = false;
    this.holds = new Map(); // conversation -> moment until which its lane waits
    this.refusals = new Map(); // conversation -> how often in a row its lane was held
    this.windows = new Map(); // conversation whose lane starts slowly -> how many go next
  }

  add(conversation, frame, { asked, files = [] }) {
    const entry = { id: frame.client_id, conversation, frame, asked, ...(files.length && { files }), sent: false };
    this.entries.push(entry);
    return entry;
  }

  /** Takes entries of the store, in their order among the others, as not sent. */
  adopt(entries) {
    const all = [...this.entries, ...entries.map((entry) => ({ ...entry, sent: false }))];
    this.entries = all.sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  find(id) {
    return this.entries.find((entry) => entry.id === id);
  }

  remove(entry) {
    this.refusals.delete(entry.conversation);
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.#speedUp(entry.conversation);
  }

  /** The frames that may go now: in all so many `requests` unanswered, and bodies of `frame_bytes`. They count as sent. */
  due(now, { requests = Infinity, frame_bytes: mostBytes = Infinity } = {}) {
    const frames = [];
    const flying = this.entries.filter(({ sent }) => sent);
    let count = flying.length;
    let bytes = flying.reduce((sum, { frame }) => sum + size(frame), 0);
    const room = new Map([...this.windows].map(([lane, most]) => [lane, this.#isUnderWay(lane) ? 0 : most]));
    for (const entry of this.entries) {
      if (entry.sent || this.#isHeld(entry.conversation, now) || room.get(entry.conversation) === 0) continue;
      bytes += size(entry.frame);
      if (count && (count >= requests || bytes > mostBytes)) break; // a single one may always go
      if (room.has(entry.conversation)) room.set(entry.conversation, room.get(entry.conversation) - 1);
      entry.sent = true;
      count += 1;
      frames.push(entry.frame);
    }
    return frames;
  }

  /**
   * The entry was refused for now: it and its successors wait until the moment. Then one goes alone, and when it is answered
   * two, then four: a full server to which everybody repeats all they have stays full.
   */
  hold(entry, until) {
    entry.sent = false;
    this.windows.set(entry.conversation, 1);
    if (this.holds.has(entry.conversation)) return;
    this.holds.set(entry.conversation, until);
    this.refusals.set(entry.conversation, (this.refusals.get(entry.conversation) ?? 0) + 1);
  }

  /** Also while anything of the lane is under way: a later send could overtake a refused one. */
  #isHeld(conversation, now) {
    const until = this.holds.get(conversation);
    if (until === undefined) return false;
    if (until > now || this.#isUnderWay(conversation)) return true;
    return !this.holds.delete(conversation);
  }

  #isUnderWay(conversation) {
    return this.entries.some((entry) => entry.conversation === conversation && entry.sent);
  }

  /** Twice as many go when all that went were answered; what is sent at all is bounded by the server's limits. */
  #speedUp(conversation) {
    const most = this.windows.get(conversation);
    if (most === undefined || this.holds.has(conversation) || this.#isUnderWay(conversation)) return;
    if (most < FULL_SPEED) this.windows.set(conversation, 2 * most);
    else this.windows.delete(conversation);
  }
}
