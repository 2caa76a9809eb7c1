/** Stories about `LocalStore` and `Session` together; each returns what a restarted client would find. */

import { Conversation } from "/messaging/conversation.js";
import { Directory } from "/messaging/directory.js";
import { Client } from "/messaging/lockstep.js";
import { Session } from "/messaging/session.js";
import { standing } from "/messaging/standing.js";
import { LocalStore } from "/messaging/store.js";

const NAME = "story";
const WELCOME = { type: "welcome", device: "d1", user: "u1", session: "s1", epoch: "e1" };
const LISTED = { conversation: "c1", kind: "group", since: 0, last_seq: 2 };

const keep = (store, session) => store.save(session.take().saves, session);
const bodies = () => new LocalStore(NAME).load().outbox.map(({ frame }) => frame.body);

function opened(store) {
  const session = new Session({ token: "t", saved: store.load() });
  session.connect(0);
  session.opened(0);
  session.received([{ ...WELCOME, conversations: [LISTED] }], 0);
  keep(store, session);
  return session;
}

const STORIES = {
  outbox() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    for (const body of ["a", "b"]) session.send({ conversation: "c1", body, clientId: body }, 1);
    keep(store, session);
    const outbox = bodies();
    session.received([{ type: "ok", client_id: "a", message: "m1", seq: 1, position: 1, version: 1, created: 1 }], 2);
    keep(store, session);
    const confirmed = bodies();
    store.clear();
    session.merge({ id: "c1", messages: [{ id: "m0", seq: 1, position: 1 }] }); // an answer that was on its way
    keep(store, session);
    store.flush();
    return { outbox, after_confirmation: confirmed, cleared: Object.keys(localStorage) };
  },

  clock() {
    const { now } = Date;
    const send = (store, session, moment) => {
      Date.now = () => moment;
      session.send({ conversation: "c1", body: `at ${moment}` }, 1);
      keep(store, session);
    };
    try {
      const store = new LocalStore(NAME);
      const session = opened(store);
      for (const moment of [5000, 4000, 4500]) send(store, session, moment);
      const again = new LocalStore(NAME);
      send(again, opened(again), 3000);
      return bodies();
    } finally {
      Date.now = now;
    }
  },

  cursor() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    const messages = [{ id: "m1", seq: 1, position: 1 }, { id: "m2", seq: 2, position: 2 }];
    session.received([{ type: "events", conversation: "c1", since: 0, upto: 2, messages }], 1);
    keep(store, session);
    store.flush();
    const { epoch, conversations } = new LocalStore(NAME).load();
    return { cursor: conversations.c1.cursor, messages: conversations.c1.messages.map(({ id }) => id), epoch };
  },

  joined() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    const messages = [{ id: "m1", seq: 1, position: 1 }];
    session.received([{ type: "conversation", ...LISTED, conversation: "c2" }], 1);
    keep(store, session);
    session.received([{ type: "events", conversation: "c2", since: 0, upto: 1, messages }], 1);
    const { saves, frames } = session.take();
    store.save(saves, session); // and the tab is killed
    const again = new Session({ token: "t", saved: new LocalStore(NAME).load() });
    again.connect(2);
    again.opened(2);
    const [hello] = again.take().frames;
    return { acknowledged: frames.at(-1).marks, said: hello.cursors.c2 };
  },

  crowded() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    const messages = [1, 2].map((seq) => ({ id: `m${seq}`, seq, position: seq, body: "x".repeat(1000) }));
    session.received([{ type: "events", conversation: "c1", since: 0, upto: 2, messages }], 1);
    session.merge({ id: "c2", messages, floor: 1 }); // over REST, before its feed has started
    keep(store, session);
    store.flush();
    for (let size = 4_194_304; size >= 1; size /= 2)
      try {
        while (true) localStorage.setItem(`filler ${Math.random()}`, "x".repeat(size));
      } catch {
        // there is no room for so much
      }
    session.send({ conversation: "c1", body: "y".repeat(500), clientId: "a" }, 2);
    keep(store, session);
    const { c1, c2 } = new LocalStore(NAME).load().conversations; // the browser tells of its keys in any order
    return { waiting: bodies().length, kept: [c1, c2].map(({ cursor, floor, messages }) => [cursor, floor, messages.length]) };
  },

  outgrown() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    const message = (seq, body) => ({ id: `m${seq}`, seq, position: seq, body });
    const long = Array.from({ length: 100 }, (_, n) => message(n + 1, "x".repeat(60_000)));
    session.received([{ type: "events", conversation: "c1", since: 0, upto: 100, messages: long }], 1);
    session.received([{ type: "events", conversation: "c2", since: 0, upto: 1, messages: [message(1, "short")] }], 2);
    keep(store, session);
    store.flush();
    const { c1, c2 } = new LocalStore(NAME).load().conversations;
    return { long: c1.cursor, short: [c2.cursor, c2.messages.length] };
  },

  orphaned() {
    const stores = [new LocalStore(NAME), new LocalStore(NAME)];
    const [gone, other] = stores.map(opened);
    const client = new Client({ token: "t", store: new LocalStore(NAME), url: "/nothing" });
    const send = (store, session, body) => {
      session.send({ conversation: "c1", body, clientId: body }, 1);
      keep(store, session);
    };
    send(stores[0], gone, "a");
    send(stores[1], other, "b");
    send(stores[0], gone, "c"); // and this tab is closed
    other.adopt(stores[1].others(other.outbox.entries), 2);
    const frames = other.take().frames.map(({ client_id: id }) => id);
    document.dispatchEvent(new Event("visibilitychange"));
    const waiting = client.outbox.map(({ id }) => id);
    client.close();
    return { frames, order: other.outbox.entries.map(({ id }) => id), waiting };
  },

  probed() {
    const session = opened(new LocalStore(NAME));
    session.probe(1000);
    session.tick(session.deadline);
    const frames = session.take().frames.map(({ type }) => type);
    session.tick(9000);
    return { frames, phase: session.phase };
  },

  files() {
    const store = new LocalStore(NAME);
    const session = opened(store);
    const plan = { id: "f1", name: "plan.pdf", size: 9 };
    session.send({ conversation: "c1", body: "", attachments: [plan, "f2"], clientId: "a" }, 1);
    keep(store, session);
    const [{ frame, files }] = new LocalStore(NAME).load().outbox;
    session.received([{ type: "ok", client_id: "a", message: "m1", seq: 1, position: 1, version: 1, created: 1 }], 2);
    return { asked: frame.attachments, waiting: files, taken: session.conversations.get("c1").messages.get("m1").attachments };
  },

  asleep() {
    const events = (upto) => [{ type: "events", conversation: "c1", since: upto - 1, upto, messages: [{ id: `m${upto}`, seq: upto, position: upto }] }];
    const stores = [new LocalStore(NAME), new LocalStore(NAME)];
    const [awake, asleep] = stores.map(opened);
    asleep.received(events(1), 1);
    keep(stores[1], asleep);
    awake.closed(1006, 2);
    awake.connect(3);
    awake.opened(3);
    awake.received([{ ...WELCOME, epoch: "e2", conversations: [{ ...LISTED, last_seq: 0 }] }], 4);
    keep(stores[0], awake);
    stores[1].flush(); // it wakes up, and does not know yet
    awake.received([{ type: "receipts", conversation: "c2", marks: [] }], 5);
    keep(stores[0], awake);
    stores[0].flush();
    const { epoch, conversations } = new LocalStore(NAME).load();
    return { epoch, cursor: conversations.c1?.cursor ?? null };
  },

  roomless() {
    let hasRoom = false;
    const storage = new Proxy(localStorage, {
      get: (target, name) => (name === "setItem" ? set : typeof target[name] === "function" ? target[name].bind(target) : target[name]),
    });
    const set = (key, value) => {
      if (!hasRoom && key.includes(":outbox:")) throw new DOMException("full", "QuotaExceededError");
      localStorage.setItem(key, value);
    };
    const store = new LocalStore(NAME, { storage });
    const session = opened(store);
    const told = ["a", "b"].map((body) => {
      session.send({ conversation: "c1", body, clientId: body }, 1);
      try {
        keep(store, session);
        return "stored";
      } catch ({ name }) {
        return name;
      }
    });
    session.received([{ type: "ok", client_id: "a", message: "m1", seq: 1, position: 1, version: 1, created: 1 }], 2);
    hasRoom = true;
    keep(store, session);
    store.flush();
    return { told, kept: bodies() };
  },

  unstorable() {
    const session = opened(new LocalStore(NAME));
    const errors = ["x".repeat(65_537), "é".repeat(32_769), "x".repeat(65_536)].map((body) => {
      try {
        return session.send({ conversation: "c1", body, clientId: "k" }, 1) && "taken";
      } catch (error) {
        return error.message;
      }
    });
    return { errors, waiting: session.outbox.entries.length };
  },

  shrunk() {
    const session = opened(new LocalStore(NAME));
    const receipts = { type: "receipts", conversation: "c1" };
    const ticks = () => standing({ seq: 2, device: "d1", user: "u1" }, session.conversations.get("c1"), null);
    session.received([{ ...receipts, summary: { last_seq: 2, devices: 101, lowest_delivered: 1, lowest_read: 0 } }], 1);
    const large = ticks();
    session.received([{ ...receipts, marks: [{ device: "d2", user: "u2", delivered: 2, read: 2 }] }], 2);
    return [large, ticks()];
  },

  async roster() {
    const { now } = Date;
    let asked = 0;
    const receipts = async () => ((asked += 1), { marks: [] });
    const directory = new Directory({ session: { device: "d1" }, conversations: new Map(), request: receipts }, () => {});
    const conversation = new Conversation("c1");
    conversation.put({ id: "m1", seq: 1, position: 1 });
    const { now: monotonic } = performance;
    try {
      await directory.loadRoster(conversation);
      Date.now = () => now() - 3_600_000;
      performance.now = () => monotonic.call(performance) + 3_001;
      await directory.loadRoster(conversation);
      await directory.loadRoster(conversation); // just asked
      return asked;
    } finally {
      Object.assign(Date, { now });
      Object.assign(performance, { now: monotonic });
    }
  },

  tabs() {
    const stores = [new LocalStore(NAME), new LocalStore(NAME)];
    const sessions = stores.map(opened);
    for (const [index, name] of ["first", "second"].entries()) {
      sessions[index].send({ conversation: "c1", body: `from the ${name} tab` }, 1);
      keep(stores[index], sessions[index]);
    }
    return bodies().sort();
  },
};

export function run(story) {
  localStorage.clear();
  return STORIES[story]();
}
