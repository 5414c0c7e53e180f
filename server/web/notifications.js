// The shop's notifications in a browser: a module without dependencies.
//
//   import { Notifications } from "https://shop.example.com/web/notifications.js";
//
//   const notifications = new Notifications({
//     url: "wss://shop.example.com/ws/notifications/1/",
//     // An access token, or a promise of one. With renew, the last one is no longer good enough: get another, by
//     // POST /auth/api/token/refresh/. Throw to be asked again later; return "" when the user has to log in again.
//     token: (renew) => (renew ? login.refresh() : login.access),
//     // Called once for each event, in order: {type, order_id, message, event_id, created_at, …}.
//     onEvent: (event) => show(event.message),
//     onState: (state, reason) => {},  // "connecting", "open", "waiting" (to try again) or "stopped"; optional
//     lastEventID: 41,                 // start after this event; default 0, for all that the shop keeps (30 days)
//   });
//   notifications.lastEventID;  // of the newest event that onEvent was called for; keep it to resume another day
//   notifications.close();
//
// It keeps one socket open, and a new one resumes where the last one ended: nothing is lost, and what comes twice
// is dropped. The token travels as a subprotocol, which logs do not keep, and is renewed on the open socket shortly
// before it expires. What follows when a socket ends:
//
//   4401 (token expired)                        a new token, at once
//   1001, 1006, 1012, 1013, and whatever else   again after a pause with jitter, 0.5 s growing to 30 s; 1006 before
//                                               the socket ever was open may mean a refused token: then a new one too
//   1008 (policy violation)                     "stopped", as after close()
//
// Browsers notice a dead network late. When one says that it is back online, the socket is replaced at once.

const FIRST_PAUSE = 500, LONGEST_PAUSE = 30_000; // ms
const SETTLED = 10_000; // ms after which an open socket has proved that things are well
const EARLY = 30_000; // ms before its end that a token is renewed; a fifth of its life if that is shorter
const LONGEST_TIMER = 2 ** 31 - 1; // ms; a greater one would run out at once
const NORMAL = 1000, POLICY_VIOLATION = 1008, TOKEN_EXPIRED = 4401;

export class Notifications {
  #options;
  #socket; // the one that counts; none while it pauses, or waits for a token
  #opened; // when that was, as performance.now() tells; undefined if it never was
  #inOrder = false; // whether this socket has brought an event
  #pause = FIRST_PAUSE;
  #waiting; // the timer of the pause
  #renewal; // the timer of the token
  #renewing; // the promise of a token that was asked for: a refresh token must not be used twice
  #mustRenew = false;
  #suspected = false; // whether a new token has been tried since a socket was last open
  #stopped = false;
  #online = () => this.#replace();

  constructor(options) {
    this.#options = options;
    this.lastEventID = options.lastEventID ?? 0;
    addEventListener("online", this.#online);
    this.#connect();
  }

  close() { this.#stop("closed"); }

  async #connect() {
    this.#waiting = undefined;
    this.#tell("connecting");
    try {
      const token = await this.#usableToken();
      if (this.#stopped) return;
      if (token) this.#open(token);
      else this.#stop("logged out");
    } catch (error) {
      this.#again(String(error));
    }
  }

  #open(token) {
    const url = new URL(this.#options.url);
    url.searchParams.set("last_event_id", this.lastEventID);
    const socket = new WebSocket(url, ["bearer", token]);
    this.#socket = socket;
    this.#opened = undefined;
    this.#inOrder = false;
    const ifCurrent = (react) => (event) => { if (socket === this.#socket) react(event); };
    socket.onopen = ifCurrent(() => {
      this.#opened = performance.now();
      this.#suspected = false;
      this.#renewBeforeEnd(remaining(token));
      this.#tell("open");
    });
    socket.onmessage = ifCurrent(({ data }) => this.#receive(JSON.parse(data)));
    socket.onclose = ifCurrent(({ code, reason }) => this.#closed(code, reason));
  }

  #receive(event) {
    if (!(event.event_id > this.lastEventID)) return;
    if (this.#inOrder && event.event_id !== this.lastEventID + 1) { // before the first it is what the shop kept no longer
      this.#replace();
      return;
    }
    this.#inOrder = true;
    this.#pause = FIRST_PAUSE;
    this.lastEventID = event.event_id;
    try {
      this.#options.onEvent(event);
    } catch (error) {
      reportError(error); // the page's own fault, and the next event may fare better
    }
  }

  #closed(code, reason) {
    this.#socket = undefined;
    clearTimeout(this.#renewal);
    const lasted = this.#opened === undefined ? 0 : performance.now() - this.#opened;
    if (lasted > SETTLED) this.#pause = FIRST_PAUSE;
    if (code === POLICY_VIOLATION) return this.#stop(reason || "refused");
    if (code === TOKEN_EXPIRED) {
      this.#mustRenew = true;
      if (lasted > FIRST_PAUSE) return this.#connect();
    } else if (this.#opened === undefined && !this.#suspected) {
      this.#mustRenew = this.#suspected = true; // the server may have answered 401, which scripts do not see
    }
    this.#again(`${code} ${reason}`.trim());
  }

  #again(reason) {
    if (this.#stopped) return;
    this.#waiting = setTimeout(() => this.#connect(), this.#pause * (0.5 + Math.random() / 2));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#tell("waiting", reason);
  }

  // Ends the socket or the pause, and connects. While it waits for a token there is neither.
  #replace() {
    if (this.#socket === undefined && this.#waiting === undefined) return;
    this.#drop();
    this.#connect();
  }

  #stop(reason) {
    if (this.#stopped) return;
    this.#stopped = true;
    removeEventListener("online", this.#online);
    this.#drop();
    this.#tell("stopped", reason);
  }

  #drop() {
    clearTimeout(this.#waiting);
    clearTimeout(this.#renewal);
    this.#socket?.close(NORMAL);
    this.#socket = undefined; // what it still has to say does not count
  }

  #tell(state, reason = "") { this.#options.onState?.(state, reason); }

  async #usableToken() {
    if (!this.#mustRenew) {
      const token = await this.#options.token(false);
      if (token && remaining(token) > 0) return token;
    }
    return this.#renewedToken();
  }

  #renewedToken() {
    this.#renewing ??= Promise.resolve(this.#options.token(true))
      .then((token) => { this.#mustRenew = false; return token; })
      .finally(() => { this.#renewing = undefined; });
    return this.#renewing;
  }

  // Renews the token after some time, on this socket, for as long as it is open.
  #renewBeforeEnd(after) {
    const socket = this.#socket;
    this.#renewal = setTimeout(async () => {
      let next = EARLY / 6; // the old token is good a little longer
      try {
        const token = await this.#renewedToken();
        if (socket !== this.#socket) return;
        if (!token) return this.#stop("logged out");
        socket.send(JSON.stringify({ type: "auth", token }));
        next = remaining(token, true);
      } catch {
        if (socket !== this.#socket) return;
      }
      this.#renewBeforeEnd(next);
    }, Math.min(after, LONGEST_TIMER));
  }
}

// How long, in ms, a token should be used, by its claims. A new one is measured by its life, whatever the clocks say.
function remaining(token, isNew = false) {
  const { exp, iat } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  const life = (exp - iat) * 1000;
  return (isNew ? life : exp * 1000 - Date.now()) - Math.min(EARLY, life / 5);
}
