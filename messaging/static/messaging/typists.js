/**
 * Who is typing: what this device says of its own user, and how long it believes what it hears of others.
 *
 * Nothing of it is stored or repeated. A device says it at most every 3 s while its user types, and believes it for 6 s, so
 * that one lost frame changes nothing and a lost device stops by itself.
 */

const SAY_MS = 3_000;
const BELIEVE_MS = 6_000;
const AGAIN_MS = 1_200; // begun anew it is said no sooner: a server shows it once a second, and drops the rest

export class Typists {
  #wishes = new Map(); // conversation -> what the app said last
  #said = new Map(); // conversation -> moment at which "typing" was last sent
  #begun = new Set(); // conversations in which that was not ended since
  #others = new Map(); // conversation -> Map(user -> moment of its end)

  /** The other users who are typing in a conversation, in the order in which they began. */
  of(conversation) {
    return [...(this.#others.get(conversation)?.keys() ?? [])];
  }

  /** The moment at which the next one counts as stopped, or is said; null if there is none. */
  get deadline() {
    const ends = [...this.#others.values()].flatMap((users) => [...users.values()]);
    const begins = [...this.#wishes.keys()].map((conversation) => this.#said.get(conversation) + AGAIN_MS);
    return ends.length + begins.length ? Math.min(...ends, ...begins) : null;
  }

  /** The user pressed a key in a conversation, or gave the draft up. */
  say(conversation, typing) {
    this.#wishes.set(conversation, typing);
  }

  /** The frames to send now; what was begun anew too soon waits for its moment. */
  due(now) {
    const wishes = [...this.#wishes];
    const news = wishes.filter(([conversation, typing]) => (typing ? this.#begins(conversation, now) : this.#ends(conversation, now)));
    this.#wishes = new Map(wishes.filter(([conversation, typing]) => typing && !this.#begun.has(conversation)));
    return news.map(([conversation, typing]) => ({ type: "typing", conversation, typing }));
  }

  #begins(conversation, now) {
    const pause = this.#begun.has(conversation) ? SAY_MS : AGAIN_MS;
    if (now < (this.#said.get(conversation) ?? -Infinity) + pause) return false;
    this.#said.set(conversation, now);
    this.#begun.add(conversation);
    return true;
  }

  #ends(conversation, now) {
    return this.#begun.delete(conversation) && now < this.#said.get(conversation) + BELIEVE_MS;
  }

  /** A message goes out: that ends the typing for everybody, without a frame. */
  sent(conversation) {
    this.#wishes.delete(conversation);
    this.#begun.delete(conversation);
  }

  /** The server told of somebody else. */
  heard({ conversation, user, typing = true }, now) {
    if (!typing) return this.stopped(conversation, user);
    if (!this.#others.has(conversation)) this.#others.set(conversation, new Map());
    this.#others.get(conversation).set(user, now + BELIEVE_MS);
  }

  /** Somebody stopped, or sent what they were typing. */
  stopped(conversation, user) {
    this.#others.get(conversation)?.delete(user);
  }

  /** Forgets those whom nothing was heard of for too long. */
  over(now) {
    for (const users of this.#others.values())
      for (const [user, end] of users) if (end <= now) users.delete(user);
  }

  /** The conversation is left, or starts anew. */
  leave(conversation) {
    this.sent(conversation);
    this.#others.delete(conversation);
  }

  /** The connection is lost: nobody is known to type. */
  lose() {
    for (const known of [this.#wishes, this.#said, this.#begun, this.#others]) known.clear();
  }
}
